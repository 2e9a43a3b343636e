"""No name leads out of a scope: whatever a tenant calls its scopes and keys, two places are the same only if equal."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from context_store.contexts.storage import escape, lock_key, scope_prefix, stored_key
from context_store.exceptions import InvalidData

# The separators and what looks like their escapes, among a few letters: collisions are near.
NAMES = st.text("|~01:ax*%/", min_size=1, max_size=6)
PLACES = st.tuples(st.lists(NAMES, max_size=3), NAMES)


def stored(place: tuple[list[str], str]) -> str:
    scopes, key = place
    prefix = ""
    for scope in scopes:
        prefix = scope_prefix(prefix, scope)
    return stored_key(prefix, key, "key")


@given(PLACES, PLACES)
def test_places_are_stored_apart(one: tuple[list[str], str], other: tuple[list[str], str]) -> None:
    assert (stored(one) == stored(other)) == (one == other)


@given(PLACES, st.lists(NAMES, min_size=1, max_size=3))
def test_what_begins_with_a_scope_lies_in_it(place: tuple[list[str], str], scopes: list[str]) -> None:
    fence = stored((scopes, "x"))[:-1]
    assert stored(place).startswith(fence) == (place[0][: len(scopes)] == scopes)


@given(PLACES, PLACES)
def test_lock_is_no_key(one: tuple[list[str], str], other: tuple[list[str], str]) -> None:
    assert lock_key(stored(one)) != stored(other)
    assert (lock_key(stored(one)) == lock_key(stored(other))) == (one == other)


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_is_a_key_or_is_refused(scope: str, key: str) -> None:
    try:
        name = stored_key(scope_prefix("", scope), key, "key")
    except InvalidData:
        return
    assume(not {"|", "~"} & {*scope, *key})
    assert name == f"{scope}|{key}"
    assert 1 <= len(name) <= 255


@pytest.mark.parametrize("name", ["user:alice", "run-456", "https://agent.example/a#b", "ключ", "a b"])
def test_usual_names_stay_readable(name: str) -> None:
    assert escape(name) == name
