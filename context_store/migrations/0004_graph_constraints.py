"""What a foreign key of one column cannot say: a parent, a head and a checkpoint's message are in the same chat."""

from django.db import migrations

from context_store.search.operations import RunVendorSQL

# Table, column that points to a message, name of the rule.
POINTERS = [
    ("context_store_message", "parent_id", "ctx_message_parent_chat"),
    ("context_store_branch", "head_message_id", "ctx_branch_head_chat"),
    ("context_store_checkpoint", "message_id", "ctx_checkpoint_message_chat"),
]
ADD_KEY = (
    "ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY (chat_id, {column})"
    " REFERENCES context_store_message (chat_id, id)"
)
DROP_KEY = "ALTER TABLE {table} DROP CONSTRAINT {name}"
# SQLite adds no keys to a table. What is not there yet is left to the key of one column, which waits for the commit.
ADD_TRIGGER = """
CREATE TRIGGER {name}_{event} BEFORE {event} ON {table}
WHEN EXISTS (SELECT 1 FROM context_store_message WHERE id = NEW.{column} AND chat_id <> NEW.chat_id)
BEGIN SELECT RAISE(ABORT, '{table}.{column}: the message is in another chat'); END
"""
ADD_CHAT_TRIGGER = """
CREATE TRIGGER ctx_message_stays BEFORE UPDATE OF chat_id ON context_store_message WHEN NEW.chat_id <> OLD.chat_id
BEGIN SELECT RAISE(ABORT, 'context_store_message.chat_id: a message stays in its chat'); END
"""


def each(template: str, **values: str) -> list[str]:
    return [template.format(table=table, column=column, name=name, **values) for table, column, name in POINTERS]


class Migration(migrations.Migration):
    dependencies = [("context_store", "0003_search_index_mssql")]

    operations = [
        RunVendorSQL(
            {
                "postgresql": each(ADD_KEY + " DEFERRABLE INITIALLY DEFERRED"),
                "microsoft": each(ADD_KEY),
                "sqlite": [
                    *each(ADD_TRIGGER, event="INSERT"),
                    *each(ADD_TRIGGER, event="UPDATE"),
                    ADD_CHAT_TRIGGER,
                ],
            },
            {
                "postgresql": each(DROP_KEY),
                "microsoft": each(DROP_KEY),
                "sqlite": [
                    *each("DROP TRIGGER {name}_INSERT"),
                    *each("DROP TRIGGER {name}_UPDATE"),
                    "DROP TRIGGER ctx_message_stays",
                ],
            },
            model_name="message",
        ),
        RunVendorSQL(
            {
                "postgresql": [
                    "CREATE INDEX ctx_chat_metadata ON context_store_chat USING gin (metadata jsonb_path_ops)"
                ]
            },
            {"postgresql": ["DROP INDEX ctx_chat_metadata"]},
            model_name="chat",
        ),
    ]
