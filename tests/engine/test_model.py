"""Random interleavings of two engines and other writers, against a naive model of the chat in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from context_store.engine import ContextEngine, MessageFragment, assistant, message, user
from context_store.exceptions import HeadConflict
from context_store.ids import new_id
from context_store.messages import text_of
from context_store.models import Message
from context_store.store import ContextStore

UNKNOWN = object()
ENGINES = ("one", "two")
MOVES = ("rewind", "regenerate", "edit", "flip", "switch", "aside", "restore")

engines = st.sampled_from(ENGINES)
texts = st.sampled_from(["a", "b", "c"])
picks = st.integers(0, 1000)


@dataclass
class Side:
    """An engine, and what the model thinks it holds."""

    engine: ContextEngine
    queue: list[MessageFragment] = field(default_factory=list)
    base: Any = UNKNOWN


class Chat:
    """The naive model: every message with its parent, and where the branches are."""

    def __init__(self) -> None:
        self.parents: dict[str, str | None] = {}
        self.said: dict[str, tuple[str, str]] = {}
        self.branches: dict[str, str | None] = {"main": None}
        self.active = "main"
        self.tokens = 0

    @property
    def head(self) -> str | None:
        return self.branches[self.active]

    def chain(self, head: str | None) -> list[str]:
        chain: list[str] = []
        while head is not None:
            chain.append(head)
            head = self.parents[head]
        return chain[::-1]

    def append(self, message_id: str, name: str, text: str) -> None:
        self.parents[message_id] = self.head
        self.said[message_id] = name, text
        self.branches[self.active] = message_id

    def start_branch(self, head: str | None) -> None:
        numbers = [int(name.removeprefix("branch-")) for name in self.branches if name.startswith("branch-")]
        self.active = f"branch-{max(numbers, default=1) + 1}"
        self.branches[self.active] = head

    def copy(self) -> "Chat":
        other = Chat()
        other.parents, other.said = dict(self.parents), dict(self.said)
        other.branches, other.active = dict(self.branches), self.active
        other.tokens = self.tokens
        return other

    def saved(self, side: Side, *, branch: bool, reject: bool) -> "Chat | None":
        """Return the chat after the save, ``None`` if that is rejected."""
        after, expected = self.copy(), side.base
        for item in side.queue:
            known = next((key for key in (item.edit_id, item.id) if key in after.said), None)
            said = item.name, item.value()
            if known is None:
                if reject and expected not in (UNKNOWN, after.head):
                    return None
                after.append(item.id, *said)
                expected = after.head
            elif after.said[known] == said:
                expected = after.meet(known, expected)
            elif branch:
                after.start_branch(after.parents[known])
                after.append(item.edit_id, *said)
                expected = after.head
            else:
                after.said[known] = said
        return after

    def meet(self, known: str, expected: Any) -> Any:
        if known in self.chain(self.head):
            return known
        on_a_branch = any(known in self.chain(head) for head in self.branches.values())
        if not on_a_branch and (self.head is None or self.head in self.chain(known)):
            self.branches[self.active] = known
            return known
        return expected


class Interleavings(RuleBasedStateMachine):
    """Every rule does one thing to the store and the same to the model; the invariants compare them."""

    @initialize()
    def open(self) -> None:
        self.store = ContextStore()
        self.chat_id = new_id()
        self.model = Chat()
        self.sides = {name: Side(ContextEngine(self.store, chat_id=self.chat_id, user_id="alice")) for name in ENGINES}
        self.exists = False

    def picked(self, pick: int) -> str | None:
        ids = sorted(self.model.said)
        return ids[pick % len(ids)] if ids else None

    # Queueing

    @rule(name=engines, text=texts, make=st.sampled_from([user, assistant]), twice=st.booleans())
    def queue(self, name: str, text: str, make: Any, twice: bool) -> None:
        """Both engines may hold one message: a request that is sent twice."""
        item = make(text)
        for side in ENGINES if twice else (name,):
            self._queue(self.sides[side], item)

    @rule(name=engines, pick=picks, text=st.none() | texts, twice=st.booleans())
    def queue_a_known_id(self, name: str, pick: int, text: str | None, twice: bool) -> None:
        """Repeat a stored message, or say it anew."""
        if known := self.picked(pick):
            role, said = self.model.said[known]
            item = message(role, text or said, id=known)
            for side in ENGINES if twice else (name,):
                self._queue(self.sides[side], item)

    def _queue(self, side: Side, item: MessageFragment) -> None:
        side.engine.set(item)
        for index, queued in enumerate(side.queue):
            if queued.id == item.id:
                side.queue[index] = item
                return
        side.queue.append(item)

    # Writing

    @rule(name=engines, branch=st.booleans(), reject=st.booleans())
    def save(self, name: str, branch: bool, reject: bool) -> None:
        self._save(name, branch=branch, reject=reject)

    @rule(branch=st.booleans(), reject=st.booleans())
    def save_both(self, branch: bool, reject: bool) -> None:
        for name in ENGINES:
            self._save(name, branch=branch, reject=reject)

    def _save(self, name: str, *, branch: bool, reject: bool) -> None:
        side = self.sides[name]
        on_conflict: Any = "reject" if reject else "graft"
        after = self.model.saved(side, branch=branch, reject=reject)
        if after is None:
            with pytest.raises(HeadConflict):
                side.engine.save(branch=branch, on_conflict=on_conflict)
            return
        saved = side.engine.save(branch=branch, on_conflict=on_conflict)
        self.exists = self.exists or bool(side.queue)
        self.model, side.base = after, after.head
        side.queue = []
        assert (saved.head_message_id, saved.branch) == (self.model.head, self.model.active)

    @rule(kind=st.sampled_from(["append", "add_below", "move_head"]), pick=picks, text=texts)
    def another_writer(self, kind: str, pick: int, text: str) -> None:
        if message_id := self.picked(pick):
            getattr(self, f"_{kind}")(message_id, text)

    def _append(self, _: str, text: str) -> None:
        message_id = new_id()
        self.store.append_messages(self.chat_id, [{"id": message_id, "name": "user", "data": text}])
        self.model.append(message_id, "user", text)

    def _add_below(self, parent_id: str, text: str) -> None:
        node = {"id": new_id(), "chat_id": self.chat_id, "parent_id": parent_id, "name": "user", "data": text}
        self.store.add_message(node)
        self.model.parents[node["id"]], self.model.said[node["id"]] = parent_id, ("user", text)

    def _move_head(self, message_id: str, _: str) -> None:
        self.store.update_branch_head(self.store.get_active_branch(self.chat_id).id, message_id)
        self.model.branches[self.model.active] = message_id

    @rule(name=engines, kind=st.sampled_from(MOVES), pick=picks, text=texts)
    def move(self, name: str, kind: str, pick: int, text: str) -> None:
        side = self.sides[name]
        if message_id := self.picked(pick):
            getattr(self, f"_{kind}")(side.engine, message_id, text)
            if kind != "aside":
                side.base = self.model.head

    def _rewind(self, engine: ContextEngine, message_id: str, _: str) -> None:
        engine.rewind(message_id)
        self.model.start_branch(message_id)

    def _regenerate(self, engine: ContextEngine, message_id: str, _: str) -> None:
        engine.regenerate(message_id)
        self.model.start_branch(self.model.parents[message_id])

    def _edit(self, engine: ContextEngine, message_id: str, text: str) -> None:
        saved = engine.edit(message_id, text)
        self.model.start_branch(self.model.parents[message_id])
        assert saved.head_message_id is not None
        self.model.append(saved.head_message_id, self.model.said[message_id][0], text)

    def _flip(self, engine: ContextEngine, message_id: str, _: str) -> None:
        engine.flip(message_id)
        chains = {branch: self.model.chain(head) for branch, head in self.model.branches.items()}
        through = [branch for branch, chain in chains.items() if message_id in chain]
        if not through:
            self.model.start_branch(message_id)
        elif self.model.active not in through:
            self.model.active = through[-1]

    def _switch(self, engine: ContextEngine, message_id: str, _: str) -> None:
        names = list(self.model.branches)
        self.model.active = names[int(message_id[-4:], 16) % len(names)]
        engine.switch_branch(self.model.active)

    def _aside(self, engine: ContextEngine, *_: str) -> None:
        branch = engine.aside()
        active, head = self.model.active, self.model.head
        self.model.start_branch(head)
        assert (branch.name, branch.head_message_id) == (self.model.active, head)
        self.model.active = active

    def _restore(self, engine: ContextEngine, message_id: str, _: str) -> None:
        engine.checkpoint("here", message_id)
        engine.restore("here")
        self.model.start_branch(message_id)

    @rule(name=engines, pick=picks, tokens=st.integers(0, 5))
    def record_usage(self, name: str, pick: int, tokens: int) -> None:
        if message_id := self.picked(pick):
            self.sides[name].engine.record_usage(model="m", message_id=message_id, input_tokens=tokens)
            self.model.tokens += tokens

    # Reading

    @rule(name=engines, limit=st.none() | st.integers(1, 6))
    def resolve(self, name: str, limit: int | None) -> None:
        side = self.sides[name]
        prompt = side.engine.resolve(max_messages=limit)
        side.base = self.model.head
        queued = {item.id: item for item in side.queue}
        new = [item for item in side.queue if not {item.id, item.edit_id} & self.model.said.keys()]
        expected = [queued[key].value() if key in queued else self.model.said[key][1] for key in self.shown()]
        expected += [item.value() for item in new]
        assert [text_of(record) for record in prompt.messages] == (expected if limit is None else expected[-limit:])

    def shown(self) -> list[str]:
        return self.model.chain(self.model.head)

    # What always holds

    @invariant()
    def nothing_is_lost(self) -> None:
        stored = Message.objects.filter(chat_id=self.chat_id).records()
        assert {record.id: record.parent_id for record in stored} == self.model.parents
        assert {record.id: (record.name, text_of(record)) for record in stored} == self.model.said

    @invariant()
    def every_branch_is_a_well_formed_chain(self) -> None:
        if not self.exists:
            return
        branches = self.store.list_branches(self.chat_id)
        assert {branch.name: branch.head_message_id for branch in branches} == self.model.branches
        assert [branch.name for branch in branches if branch.is_active] == [self.model.active]
        for branch in branches:
            records = self.store.get_messages(self.chat_id, branch=branch.name)
            assert [record.id for record in records] == self.model.chain(branch.head_message_id)
            assert [record.parent_id for record in records] == [None, *(record.id for record in records)][
                : len(records)
            ]
        assert Message.objects.all().wrong_places(self.chat_id) == {}

    @invariant()
    def all_usage_is_counted(self) -> None:
        if self.exists:
            assert sum(total.input_tokens for total in self.store.sum_usage(chat_id=self.chat_id)) == self.model.tokens


@pytest.mark.thorough
@pytest.mark.django_db
def test_random_interleavings_of_two_engines() -> None:
    run_state_machine_as_test(Interleavings, settings=settings(max_examples=40, stateful_step_count=30, deadline=None))


@pytest.mark.thorough
@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(12))
def test_long_interleavings_of_two_engines(seed: int) -> None:
    """Go where Hypothesis, which prefers the short and the plain, seldom goes; the seed tells how to go there again."""
    machine, dice = Interleavings(), Random(seed)
    machine.open()
    for _ in range(80):
        step(machine, dice)
        machine.nothing_is_lost()
        machine.every_branch_is_a_well_formed_chain()
        machine.all_usage_is_counted()


def step(machine: Interleavings, dice: Random) -> None:
    name, pick, text = dice.choice(ENGINES), dice.randrange(1000), dice.choice("abc")
    twice, branch, reject = dice.random() < 0.4, dice.random() < 0.6, dice.random() < 0.3
    steps: list[Callable[[], None]] = [
        lambda: machine.queue(name=name, text=text, make=dice.choice([user, assistant]), twice=twice),
        lambda: machine.queue_a_known_id(name=name, pick=pick, text=dice.choice([None, text]), twice=twice),
        lambda: machine.save(name=name, branch=branch, reject=reject),
        lambda: machine.save_both(branch=branch, reject=reject),
        lambda: machine.another_writer(kind=dice.choice(["append", "add_below", "move_head"]), pick=pick, text=text),
        lambda: machine.move(name=name, kind=dice.choice(MOVES), pick=pick, text=text),
        lambda: machine.resolve(name=name, limit=dice.choice([None, 1, 3, 6])),
        lambda: machine.record_usage(name=name, pick=pick, tokens=dice.randrange(5)),
    ]
    dice.choices(steps, weights=[4, 3, 3, 3, 2, 2, 2, 1])[0]()
