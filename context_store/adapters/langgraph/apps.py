from django.apps import AppConfig


class LangGraphConfig(AppConfig):
    name = "context_store.adapters.langgraph"
    label = "context_store_langgraph"
    verbose_name = "Context store: LangGraph"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from context_store.lifecycle.holders import register

        from .lifecycle import MemoryHolder, ThreadsHolder

        register(MemoryHolder())
        register(ThreadsHolder())
