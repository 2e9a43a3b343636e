from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "context_store.chat"
    label = "context_store_chat"
    verbose_name = "Chat"

    def ready(self) -> None:
        from . import checks  # noqa: F401
