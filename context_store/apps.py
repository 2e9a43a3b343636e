from django.apps import AppConfig


class ContextStoreConfig(AppConfig):
    name = "context_store"
    verbose_name = "Context store"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks  # noqa: F401
