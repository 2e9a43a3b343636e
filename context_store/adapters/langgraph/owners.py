"""Whose threads and items they are."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from context_store.exceptions import InvalidData
from context_store.validation import check_identifier

# A user id, or a function that finds it in the config of a call.
Owner = str | Callable[[RunnableConfig], str]


def check_owner(user_id: Any) -> str:
    """Return the user id. Raises ``ImproperlyConfigured`` where there is none."""
    try:
        return check_identifier(user_id, "user_id")
    except InvalidData as error:
        raise ImproperlyConfigured(f"user_id is the owner, an id or a function of the config: {error}") from error


def owner_of(owner: Owner, config: RunnableConfig | None = None) -> str:
    """
    Return the user id, of the config that is given or of the graph that runs.

    Raises ``ImproperlyConfigured`` where a function finds none.
    """
    if not callable(owner):
        return owner
    try:
        return check_owner(owner(config or var_child_runnable_config.get() or {}))
    except (KeyError, AttributeError, TypeError) as error:
        raise ImproperlyConfigured(
            "The function user_id finds no user in this call's config: put one there, or call for_user(user_id) first."
        ) from error
