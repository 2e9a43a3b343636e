from django.apps import AppConfig


class OpenAIAgentsConfig(AppConfig):
    name = "context_store.adapters.openai_agents"
    label = "context_store_openai_agents"
    verbose_name = "Context store: OpenAI Agents SDK"
    default_auto_field = "django.db.models.BigAutoField"
