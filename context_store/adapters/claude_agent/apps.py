from django.apps import AppConfig


class ClaudeAgentConfig(AppConfig):
    name = "context_store.adapters.claude_agent"
    label = "context_store_claude_agent"
    verbose_name = "Context store: Claude Agent SDK"
    default_auto_field = "django.db.models.BigAutoField"
