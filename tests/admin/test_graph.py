from __future__ import annotations

import random
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from context_store.admin.graph import Layout, arrange, layout
from context_store.graph.lineage import Place, Span, place_all
from context_store.models import Message
from context_store.store import ContextStore

CHAT = "/admin/context_store/chat/c1/"


def runs_of(places: dict[str, Place]) -> list[tuple[Span, tuple[str, int] | None]]:
    runs: dict[str, list[int]] = {}
    for place in places.values():
        runs.setdefault(place.segment, []).append(place.depth)
    return [
        (Span(segment, min(depths), max(depths)), places[segment].ancestry[0] if places[segment].ancestry else None)
        for segment, depths in runs.items()
    ]


parents = st.lists(st.integers(min_value=-1), min_size=1, max_size=60).map(
    lambda picks: {
        str(n): None if n == 0 or pick % (n + 1) == n else str(pick % (n + 1)) for n, pick in enumerate(picks)
    }
)


@given(parents, st.integers(min_value=0))
def test_every_message_has_a_row_below_its_parent_and_lanes_are_few(tree: dict[str, str | None], pick: int) -> None:
    places = place_all(tree)
    head = places[str(pick % len(tree))]
    active: dict[str, int] = {head.segment: head.depth}
    for segment, depth in head.ancestry:
        active.setdefault(segment, depth)
    drawn = Layout(arrange(runs_of(places), active))
    rows = {message: drawn.row_of(place.segment, place.depth) for message, place in places.items()}
    assert sorted(rows.values(), key=lambda row: -1 if row is None else row) == list(range(len(tree)))
    for message, parent in tree.items():
        if parent is not None:
            assert (rows[message] or 0) > (rows[parent] or 0)
    assert 2 ** (drawn.lanes - 2) <= len(tree)
    assert drawn.rows == len(tree)
    on_path = {str(pick % len(tree))}
    while (above := tree[min(on_path, key=lambda message: places[message].depth)]) is not None:
        on_path.add(above)
    by_place = {(place.segment, place.depth): message for message, place in places.items()}
    nodes = drawn.nodes(0, len(tree))
    assert {by_place[(node.span.segment, node.depth)] for node in nodes if node.is_active} == on_path
    check_lines(drawn, tree, rows, nodes)


def check_lines(drawn: Layout, tree: dict[str, Any], rows: dict[str, Any], nodes: list[Any]) -> None:
    """Follow the lines from every node up: they lead to its parent."""
    lane = {node.row: node.lane for node in nodes}
    steps: set[tuple[int, int, int, int]] = set()
    for line in drawn.lines(0, drawn.rows):
        if line.lane == line.to_lane:
            steps |= {(line.lane, row + 1, line.lane, row) for row in range(line.row, line.to_row)}
        else:
            steps.add((line.to_lane, line.to_row, line.lane, line.row))
    for message, parent in tree.items():
        if parent is None:
            continue
        row, column = rows[message], lane[rows[message]]
        while True:
            above = [step for step in steps if step[:2] == (column, row)]
            # A line straight up in the lane, or the one that leaves its parent's lane.
            assert above, (message, parent)
            straight = [step for step in above if step[2] == column]
            step = straight[0] if straight and row != rows[message] else min(above, key=lambda step: step[2])
            column, row = step[2], step[3]
            if lane.get(row) == column:
                assert row == rows[parent]
                break


def test_windows_of_the_graph_join(boss: Client, store: ContextStore) -> None:
    chance = random.Random(2)
    store.create_chat("c1", user_id="alice")
    messages: list[dict[str, Any]] = []
    for number in range(700):
        parent = f"m{max(0, number - chance.choice((1, 1, 1, 1, 2, 30)))}" if number else None
        messages.append({"id": f"m{number}", "chat_id": "c1", "parent_id": parent, "name": "user", "data": number})
    store.add_messages(messages)
    seen: list[str] = []
    url = f"{CHAT}graph/?row=0"
    while url:
        context = boss.get(url).context_data
        seen += [row["url"] for row in context["rows"]]
        url = context["later_url"]
    assert len(seen) == len(set(seen)) == 700


def test_the_graph_shows_labels_previews_and_links(reader: Client, chat: str) -> None:
    page = reader.get(f"{CHAT}graph/").content.decode()
    assert page.count("<circle") == 4
    for text in ("Press the green button.", "<bdi>main</bdi>", "<bdi>asked</bdi>", "?message=m1#focus"):
        assert text in page
    assert "<title>3. user, main</title>" in page


def test_the_graph_begins_at_the_message_that_was_looked_at(reader: Client, store: ContextStore) -> None:
    store.create_chat("c1", user_id="alice")
    store.append_messages("c1", [{"id": f"m{n}", "name": "user", "data": n} for n in range(900)])
    context = reader.get(f"{CHAT}graph/", {"message": "m450"}).context_data
    assert [row["node"].depth for row in context["rows"] if row["is_focus"]] == [450]
    assert context["rows"][-1]["node"].depth == 549


def test_what_browsers_read_as_numbers_has_no_separators(reader: Client, store: ContextStore, settings: Any) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    store.create_chat("c1", user_id="alice")
    store.append_messages("c1", [{"name": "user", "data": n} for n in range(1_002)])
    page = reader.get(f"{CHAT}graph/?row=0").content.decode()
    assert 'height="5600" viewBox="0 0 30 5600"' in page
    assert 'cx="13" cy="1022"' in page
    assert 'start="1002"' in reader.get(f"{CHAT}graph/?row=1001").content.decode()
    page = reader.get(f"{CHAT}change/").content.decode()
    assert 'max="1002"' in page
    assert "1,002" in page


@pytest.mark.parametrize("length", [5, 300])
def test_the_graph_has_a_fixed_number_of_queries(
    reader: Client, store: ContextStore, django_assert_num_queries: Any, length: int
) -> None:
    store.create_chat("c1", user_id="alice")
    store.append_messages("c1", [{"id": f"m{n}", "name": "user", "data": n} for n in range(length)])
    for number in range(1, 5):
        store.rewind("c1", f"m{number - 1}")
        store.append_messages("c1", [{"id": f"x{number}", "name": "user", "data": number}])
    reader.get(f"{CHAT}graph/")
    with django_assert_num_queries(16):
        reader.get(f"{CHAT}graph/")


@pytest.mark.django_db
def test_a_graph_laid_out_from_the_database_is_the_one_laid_out_from_memory(chat: str) -> None:
    drawn = layout(Message.objects.all(), "c1", None)
    assert drawn.rows == 4
    assert drawn.lanes == 2


def test_a_graph_of_very_many_forks_has_the_first_and_the_ways_in_view(
    reader: Client, store: ContextStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("context_store.admin.graph.MAX_RUNS", 3)
    store.create_chat("c1", user_id="alice")
    store.append_messages("c1", [{"id": f"m{n}", "name": "user", "data": n, "created_at": n} for n in range(3)])
    for number in range(6):
        for parent, name in (("m0", f"x{number}"), (f"x{number}", f"y{number}"), (f"x{number}", f"z{number}")):
            store.rewind("c1", parent)
            message = {"id": name, "name": "user", "data": name, "created_at": 10 * number + ord(name[0])}
            store.append_messages("c1", [message])

    def shown(**query: str) -> set[str]:
        response = reader.get(f"{CHAT}graph/", query)
        assert "more forks than are drawn: here are the first 3" in response.content.decode()
        return {row["url"].partition("message=")[2].partition("#")[0] for row in response.context_data["rows"]}

    first, active = {"m0", "m1", "m2", "x0", "y0", "z0"}, {"x5", "y5", "z5"}
    assert shown() == first | active
    assert shown(message="z3") == first | active | {"x3", "y3", "z3"}
    monkeypatch.setattr("context_store.admin.graph.MAX_RUNS", 5_000)
    assert "more forks" not in reader.get(f"{CHAT}graph/").content.decode()
