"""System checks of the settings of trash, retention and audit, ids 500-599."""

from typing import Any

from django.core.checks import CheckMessage, Error

from context_store.conf import settings
from context_store.exceptions import InvalidData
from context_store.validation import MAX_COUNT, check_filters, check_identifier

from .holders import holders

HORIZONS = ("inactive_days", "age_days")
RULE = {"name", "user_id", "title", "metadata", "keep", "action", "except_pinned", *HORIZONS}
KINDS = (
    ("name", str, "text"),
    ("user_id", str, "text"),
    ("title", str, "text"),
    ("metadata", dict, "dict"),
    ("keep", bool, "True or False"),
    ("except_pinned", bool, "True or False"),
)
ACCESS = ("others", "all", None)


def check_lifecycle(**kwargs: Any) -> list[CheckMessage]:
    """Check what says how long things stay, and who is recorded."""
    found: list[CheckMessage] = []
    if reason := retention_problem():
        hint = "See docs/lifecycle.md. Nothing is deleted until it is right."
        found.append(Error(f"{reason}.", hint=hint, id="context_store.E500"))
    if settings.AUDIT_ACCESS not in ACCESS:
        hint = "Give 'others' for requests that act for another user, 'all' for those of owners too, or None."
        found.append(
            Error(f"CONTEXT_STORE_AUDIT_ACCESS is {settings.AUDIT_ACCESS!r}.", hint=hint, id="context_store.E501")
        )
    return found


def retention_problem() -> str | None:
    """Return what is wrong with the settings of retention: a rule that is misspelt must not delete everything."""
    trash_days, given = settings.TRASH_DAYS, settings.RETENTION
    if not _are_days(trash_days):
        return f"CONTEXT_STORE_TRASH_DAYS is {trash_days!r}, not a number of days"
    if not isinstance(given, dict) or not given.keys() <= {"chats", "holders", "checkpoints"}:
        return "CONTEXT_STORE_RETENTION is no dict of 'chats', 'holders' and 'checkpoints'"
    rules, horizons, newest = given.get("chats", ()), given.get("holders", {}), given.get("checkpoints")
    if not isinstance(rules, (list, tuple)):
        return f"CONTEXT_STORE_RETENTION['chats'] is {rules!r}, no list of rules"
    for rule in rules:
        if reason := _wrong_with(rule):
            return f"CONTEXT_STORE_RETENTION has the rule {rule!r}: {reason}"
    known = {holder.name for holder in holders()}
    if not isinstance(horizons, dict) or not (horizons.keys() <= known and all(map(_are_days, horizons.values()))):
        return f"CONTEXT_STORE_RETENTION['holders'] is {horizons!r}, no days by the names {', '.join(sorted(known))}"
    if newest is not None and (type(newest) is not int or newest < 1):
        return f"CONTEXT_STORE_RETENTION['checkpoints'] is {newest!r}, not a number of checkpoints"
    return None


def _wrong_with(rule: Any) -> str | None:
    if not isinstance(rule, dict):
        return "it is no dict"
    if unknown := rule.keys() - RULE:
        return f"it knows no {', '.join(sorted(map(repr, unknown)))}"
    if rule.get("action", "delete") not in ("delete", "trash"):
        return "its action is not 'delete' or 'trash'"
    for name, kind, what in KINDS:
        if name in rule and not isinstance(rule[name], kind):
            return f"its {name} is no {what}"
    try:
        # What no chat can have would keep none: a rule behind it would delete what it is to protect.
        check_identifier(rule.get("user_id", "anybody"), "user_id")
        check_filters(rule.get("metadata", {}), "metadata")
    except InvalidData as error:
        return f"its {error}"
    days = [rule[name] for name in HORIZONS if name in rule]
    if not all(map(_are_days, days)):
        return "its days are no numbers"
    return None if days or rule.get("keep") else "it has neither 'inactive_days' nor 'age_days' nor 'keep'"


def _are_days(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT
