from django.db import migrations

from ._search_index import CreateSearchIndex


class Migration(migrations.Migration):
    # SQL Server refuses full-text DDL inside a transaction.
    atomic = False

    dependencies = [("context_store", "0001_initial")]

    operations = [CreateSearchIndex("microsoft")]
