from django.db import migrations

from ._search_index import CreateSearchIndex


class Migration(migrations.Migration):
    dependencies = [("context_store", "0001_initial")]

    operations = [CreateSearchIndex("postgresql", "sqlite")]
