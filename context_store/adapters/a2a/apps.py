from django.apps import AppConfig

from context_store.adapters.base import requires


class A2AConfig(AppConfig):
    name = "context_store.adapters.a2a"
    label = "context_store_a2a"
    verbose_name = "Context store: A2A"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from context_store.lifecycle.holders import register

        with requires("a2a"):
            from .lifecycle import TasksHolder

        register(TasksHolder())
