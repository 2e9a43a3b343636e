"""The chat page: ``path("chat/", include("context_store.chat.urls"))``, see ``docs/chat.md``."""
