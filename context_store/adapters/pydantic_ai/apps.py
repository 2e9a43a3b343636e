from django.apps import AppConfig


class PydanticAIConfig(AppConfig):
    name = "context_store.adapters.pydantic_ai"
    label = "context_store_pydantic_ai"
    verbose_name = "Context store: pydantic-ai"
    default_auto_field = "django.db.models.BigAutoField"
