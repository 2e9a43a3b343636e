from django.db import migrations

from context_store.search.operations import CreateSearchIndex


class Migration(migrations.Migration):
    dependencies = [("context_store", "0001_initial")]

    operations = [CreateSearchIndex("postgresql", "sqlite")]
