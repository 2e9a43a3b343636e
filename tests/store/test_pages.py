"""Lists by pages, and branches by name."""

import pytest

from context_store.exceptions import HeadConflict, InvalidData
from context_store.models import Branch, Chat, Message
from tests.store.data import message, node

LISTS = {
    "list_branches": ("chat",),
    "list_checkpoints": ("chat",),
    "get_children": ("m1",),
    "get_siblings": ("m2",),
}


@pytest.fixture
def wide(store, chat) -> str:
    """The chat with five branches and checkpoints, and five versions of m2."""
    for n in range(4):
        store.create_branch(chat, f"b{n}", head_message_id="m1")
    for n in range(5):
        store.create_checkpoint(chat, f"c{n}", "m1")
    store.add_messages([node(f"x{n}", "m1") for n in range(4)])
    return chat


@pytest.mark.parametrize(("name", "arguments"), LISTS.items(), ids=LISTS)
def test_pages_are_parts_of_the_whole(store, wide, name, arguments):
    read = getattr(store, name)
    everything = read(*arguments)
    assert len(everything) == 5
    assert read(*arguments, limit=2) + read(*arguments, limit=2, offset=2) + read(*arguments, offset=4) == everything
    assert read(*arguments, limit=0) == read(*arguments, offset=9) == []


@pytest.mark.parametrize(("name", "arguments"), LISTS.items(), ids=LISTS)
@pytest.mark.parametrize("window", [{"limit": -1}, {"offset": -1}, {"limit": True}, {"limit": 2**40}])
def test_wrong_windows_are_refused(store, wide, name, arguments, window):
    with pytest.raises(InvalidData):
        getattr(store, name)(*arguments, **window)


@pytest.mark.parametrize(("name", "arguments"), [("list_branches", ("none",)), ("get_children", ("none",))])
def test_a_page_of_what_is_missing_is_an_error(store, wide, name, arguments):
    with pytest.raises((Chat.DoesNotExist, Message.DoesNotExist)):
        getattr(store, name)(*arguments, limit=1, offset=5)


def test_pages_of_a_graph(store, wide):
    graph = store.get_graph(wide)
    pages = [store.get_graph(wide, limit=3, offset=offset) for offset in range(0, 9, 3)]
    for number, everything in enumerate(graph):
        assert sorted(item for page in pages for item in page[number]) == sorted(everything)
    with pytest.raises(Chat.DoesNotExist):
        store.get_graph("none", limit=1, offset=5)


def test_move_branch_by_name(store, wide):
    assert store.move_branch(wide, "b1", "m2").head_message_id == "m2"
    assert store.move_branch(wide, None, "m1", expected_head="m3").name == "main"
    assert store.get_active_branch(wide).head_message_id == "m1"
    with pytest.raises(HeadConflict) as error:
        store.move_branch(wide, "b1", "m1", expected_head=None)
    assert error.value.head_message_id == "m2"
    assert store.move_branch(wide, "b1", None, expected_head="m2").message_count == 0


def test_switch_branch_by_name(store, wide):
    assert store.switch_branch(wide, "b1").is_active
    assert store.get_active_branch(wide).name == "b1"
    assert store.switch_branch(wide, None).name == "b1"


def test_moving_and_switching_what_is_missing(store, wide):
    store.create_chat("other", user_id="alice")
    store.append_messages("other", [message("o1")])
    for error, call in (
        (Branch.DoesNotExist, lambda: store.move_branch(wide, "none", "m1")),
        (Branch.DoesNotExist, lambda: store.switch_branch(wide, "none")),
        (Chat.DoesNotExist, lambda: store.move_branch("none", "main", "m1")),
        (Chat.DoesNotExist, lambda: store.switch_branch("none", None)),
        (Message.DoesNotExist, lambda: store.move_branch(wide, "main", "o1")),
    ):
        with pytest.raises(error):
            call()
