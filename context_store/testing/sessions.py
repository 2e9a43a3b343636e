"""
The contract of sessions. A backend runs it like this, with the base class that its storage needs:

    class DatabaseContractTests(SessionsContract, TransactionTestCase):
        backend = DatabaseSessions

    class RedisContractTests(SessionsContract, TestCase):
        backend = CacheSessions
        options = {"CACHE": "redis"}
"""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any, ClassVar

from asgiref.sync import async_to_sync
from django.core.exceptions import ObjectDoesNotExist
from django.test import override_settings

from context_store.exceptions import (
    IdConflict,
    InvalidData,
    LockTimeout,
    OwnerMismatch,
    SessionDoesNotExist,
)
from context_store.ids import new_id
from context_store.records import MessageRecord
from context_store.sessions import BaseSessions, SessionMessage, SessionRecord

from .base import Contract

VALUES = [
    None, True, 0, -1, 10**40, 1.5, 1e22, -0.0, 5e-324, "", "\0\n\u2028 \U0001f40d é", [], {},
    [None, [{"a": [1, 2.0]}]], {"z": 1, "a": 2, "": None, "ключ": ["\\", '"', "\u007f"]},
]  # fmt: skip
SESSION_IDS = ["*", "a:b", "{a}", "}{", "a/b#c@d", "ключ", "with space", "~", "~0", "|", "%s", "{k}", "k" * 255]
BAD_IDS = ["", " k", "a\nb", "\ud800", "k" * 256, None, 1, b"k"]


def message(data: Any, **values: Any) -> dict[str, Any]:
    """Return a message as ``append`` takes it."""
    return {"name": "user", "data": data, **values}


class SessionsContract(Contract):
    """What every backend does. Set ``backend`` and ``options``, or override ``make_sessions``."""

    backend: ClassVar[type[BaseSessions]]
    options: ClassVar[Mapping[str, Any]] = {}

    def make_sessions(self, **options: Any) -> BaseSessions:
        """Return sessions with these options, over what earlier ones stored."""
        return self.backend("contract", {**self.options, **options})

    def setUp(self) -> None:
        """Make the sessions of two users, and of everybody."""
        super().setUp()
        # Of this test alone, in a store that may not be empty.
        self.user, self.other = f"user {new_id()}", f"user {new_id()}"
        self.everybody = self.make_sessions()
        self.sessions = self.everybody.for_user(self.user)
        self.session_id = new_id()

    def data(self, session_id: str | None = None) -> list[Any]:
        """Return the data of the session's messages."""
        return [item.data for item in self.everybody.load(session_id or self.session_id)]

    # Messages

    def test_missing_session_is_empty(self) -> None:
        self.assertEqual(self.sessions.load(self.session_id), [])
        self.assertEqual(self.sessions.load_recent(self.session_id, 5), [])
        self.assertEqual(self.sessions.count(self.session_id), 0)
        self.assertIsNone(self.sessions.get(self.session_id))
        self.assertFalse(self.sessions.delete(self.session_id))

    def test_data_comes_back_as_it_went_in(self) -> None:
        self.sessions.save(self.session_id, [message(value) for value in VALUES])
        # By ``repr``: ``==`` takes 1 for True and 0.0 for -0.0.
        self.assertEqual(repr(self.data()), repr(VALUES))
        self.sessions.append(self.session_id, [message(value) for value in VALUES])
        self.assertEqual(repr(self.data()), repr([*VALUES, *VALUES]))

    def test_messages_come_back_as_they_are_returned(self) -> None:
        given = [
            message("one", id=new_id(), type=None, created_at=5),
            message("two", name="tool", type="fragment"),
        ]
        saved = self.sessions.save(self.session_id, given)
        self.assertEqual(saved[0], SessionMessage(given[0]["id"], "user", None, "one", 5))
        self.assertEqual((saved[1].name, saved[1].type), ("tool", "fragment"))
        appended = self.sessions.append(self.session_id, [message("three")])
        self.assertEqual(self.sessions.load(self.session_id), [*saved, *appended])

    def test_save_keeps_the_time_of_a_message_that_is_there(self) -> None:
        [first] = self.sessions.save(self.session_id, [message("one", created_at=5)])
        given: dict[str, Any]
        for given in ({}, {"created_at": 9}):
            saved = self.sessions.save(self.session_id, [message("two", id=first.id, **given), message("three")])
            self.assertEqual((saved[0].data, saved[0].created_at), ("two", 5))
            self.assertEqual(self.sessions.load(self.session_id), saved)

    def test_save_replaces(self) -> None:
        self.sessions.save(self.session_id, [message(number) for number in range(5)])
        self.sessions.save(self.session_id, [message("only")])
        self.assertEqual(self.data(), ["only"])
        self.sessions.save(self.session_id, [])
        self.assertEqual(self.data(), [])
        self.assertIsNotNone(self.sessions.get(self.session_id))

    def test_saved_edit_of_an_earlier_message_is_really_edited(self) -> None:
        before = self.sessions.save(self.session_id, [message(number) for number in range(4)])
        edited = [before[0], before[1]._replace(data={"edited": True}, name="system"), *before[2:]]
        self.assertEqual(self.sessions.save(self.session_id, edited), edited)
        self.assertEqual(self.sessions.load(self.session_id), edited)

    def test_save_in_another_order(self) -> None:
        before = self.sessions.save(self.session_id, [message(number) for number in range(4)])
        self.sessions.save(self.session_id, [before[3], before[1], *self.sessions_of("new"), before[0]])
        self.assertEqual(self.data(), [3, 1, "new", 0])
        self.sessions.append(self.session_id, [message("end")])
        self.assertEqual(self.data(), [3, 1, "new", 0, "end"])

    def sessions_of(self, *values: Any) -> list[dict[str, Any]]:
        """Return messages with these data."""
        return [message(value) for value in values]

    def test_message_records_of_the_store_are_taken(self) -> None:
        record = MessageRecord(new_id(), "some chat", "some parent", "user", "message", "text", 7)
        self.sessions.save(self.session_id, [record])
        self.assertEqual(self.sessions.load(self.session_id), [SessionMessage(record.id, "user", "message", "text", 7)])

    def test_append_continues(self) -> None:
        self.sessions.append(self.session_id, [message(1)])
        self.sessions.append(self.session_id, [message(2), message(3)])
        self.sessions.append(self.session_id, [])
        self.assertEqual(self.data(), [1, 2, 3])
        self.assertEqual(self.sessions.count(self.session_id), 3)

    def test_append_can_be_repeated(self) -> None:
        given = [message(1, id=new_id()), message(2, id=new_id())]
        stored = self.sessions.append(self.session_id, given)
        self.assertEqual(self.sessions.append(self.session_id, given), stored)
        more = self.sessions.append(self.session_id, [*given, message(3, id=new_id())])
        self.assertEqual(more[:2], stored)
        self.assertEqual(self.data(), [1, 2, 3])

    def test_append_of_a_known_id_with_other_content_conflicts(self) -> None:
        first, second = new_id(), new_id()
        self.sessions.append(self.session_id, [message(1, id=first), message(2, id=second)])
        for given in (
            [message("other", id=first)],
            [message(3, id=new_id()), message(1, id=first)],
            [message(2, id=second), message(1, id=first)],
        ):
            self.assertRaises(IdConflict, self.sessions.append, self.session_id, given)
        self.assertEqual(self.data(), [1, 2])

    def test_racing_appends_are_all_kept(self) -> None:
        pairs = [[message([number, 0]), message([number, 1])] for number in range(6)]
        self.race(*[lambda pair=pair: self.sessions.append(self.session_id, pair) for pair in pairs])
        data = self.data()
        self.assertEqual(sorted(data), [[number, index] for number in range(6) for index in range(2)])
        # None is torn apart.
        self.assertEqual([first[0] for first in data[::2]], [second[0] for second in data[1::2]])

    def test_load_recent(self) -> None:
        self.sessions.save(self.session_id, [message(number) for number in range(10)])
        self.assertEqual([item.data for item in self.sessions.load_recent(self.session_id, 3)], [7, 8, 9])
        self.assertEqual(self.sessions.load_recent(self.session_id, 10), self.sessions.load(self.session_id))
        self.assertEqual(self.sessions.load_recent(self.session_id, 99), self.sessions.load(self.session_id))
        self.assertEqual(self.sessions.load_recent(self.session_id, 0), [])

    def test_load_recent_refuses_bytes_that_are_no_number(self) -> None:
        self.sessions.save(self.session_id, [message(1)])
        for wrong in ("7", 7.5, -1, True):
            with self.assertRaises(InvalidData):
                self.sessions.load_recent(self.session_id, 3, max_bytes=wrong)  # type: ignore[arg-type]

    def test_load_recent_before_a_message(self) -> None:
        saved = self.sessions.save(self.session_id, [message(number) for number in range(10)])
        self.assertEqual(self.sessions.load_recent(self.session_id, 3, before=saved[4].id), saved[1:4])
        self.assertEqual(self.sessions.load_recent(self.session_id, 9, before=saved[4].id), saved[:4])
        self.assertEqual(self.sessions.load_recent(self.session_id, 9, before=saved[0].id), [])
        self.assertEqual(self.sessions.load_recent(new_id(), 9, before=saved[0].id), [])
        with self.assertRaises(ObjectDoesNotExist):
            self.sessions.load_recent(self.session_id, 3, before=new_id())

    def test_empty_session_shows_no_message_to_load_before(self) -> None:
        for sessions in (self.sessions, self.make_sessions(MAX_MESSAGES=5)):
            sessions.save(self.session_id, [])
            with self.assertRaises(ObjectDoesNotExist):
                sessions.load_recent(self.session_id, 3, before=new_id())

    def test_load_recent_before_a_message_shows_what_load_shows(self) -> None:
        sessions = self.make_sessions(MAX_MESSAGES=25)
        for number in range(26):
            sessions.append(self.session_id, [message(number)])
        shown = sessions.load(self.session_id)
        self.assertEqual(sessions.load_recent(self.session_id, 99, before=shown[3].id), shown[:3])
        self.assertEqual(sessions.load_recent(self.session_id, 2, before=shown[3].id), shown[1:3])

    def test_many_messages(self) -> None:
        self.sessions.save(self.session_id, [message(number) for number in range(2500)])
        self.sessions.append(self.session_id, [message(number) for number in range(2500, 5000)])
        self.assertEqual(self.data(), list(range(5000)))

    # The newest

    def test_max_messages_keeps_the_newest(self) -> None:
        self.sessions.save(self.session_id, [message(number) for number in range(9)], max_messages=4)
        self.assertEqual(self.data(), [5, 6, 7, 8])
        self.sessions.append(self.session_id, [message(9), message(10)], max_messages=4)
        self.assertEqual(self.data(), [7, 8, 9, 10])
        self.sessions.append(self.session_id, [message(11)])
        self.assertEqual(self.data(), [7, 8, 9, 10, 11])
        self.sessions.append(self.session_id, [message(number) for number in range(20, 30)], max_messages=2)
        self.assertEqual(self.data(), [28, 29])

    def test_append_of_more_than_max_messages_can_be_repeated(self) -> None:
        given = [message(number, id=new_id()) for number in range(6)]
        first = self.sessions.append(self.session_id, given, max_messages=4)
        self.assertEqual(first, self.sessions.append(self.session_id, given, max_messages=4))
        self.assertEqual(first, self.sessions.load(self.session_id))
        self.assertEqual(self.data(), [2, 3, 4, 5])

    def test_append_of_nothing_keeps_the_newest_too(self) -> None:
        self.sessions.save(self.session_id, [message(number) for number in range(6)])
        self.assertEqual(self.sessions.append(self.session_id, [], max_messages=2), [])
        self.assertEqual(self.data(), [4, 5])

    def test_configured_max_messages(self) -> None:
        for limit in (3, 25):
            sessions, session_id = self.make_sessions(MAX_MESSAGES=limit), new_id()
            for number in range(0, 60, 2):
                sessions.append(session_id, [message(number), message(number + 1)])
                expected = list(range(number + 2))[-limit:]
                self.assertEqual([item.data for item in sessions.load(session_id)], expected)
                self.assertEqual(sessions.count(session_id), len(expected))
            self.assertEqual([item.data for item in sessions.load_recent(session_id, 2)], [58, 59])
            self.assertEqual(len(sessions.load_recent(session_id, 1000)), limit)
            # In a database some more may wait to be deleted together.
            self.assertLessEqual(self.everybody.count(session_id), limit + limit // 10)
            sessions.save(session_id, [message(number) for number in range(50)])
            self.assertEqual(self.everybody.count(session_id), limit)

    def test_append_of_what_fell_off_begins_anew(self) -> None:
        given = [message(number, id=new_id()) for number in range(3)]
        self.sessions.append(self.session_id, given, max_messages=1)
        self.sessions.append(self.session_id, given[:1], max_messages=1)
        self.assertEqual(self.data(), [0])

    # Bad input

    def test_bad_input_is_refused_and_changes_nothing(self) -> None:
        bad: Any
        self.sessions.save(self.session_id, [message("before")])
        for bad in (
            "text", {"name": "user", "data": 1}, 5, [1], [{}], [{"name": "user"}], [{"data": 1}],
            [message(float("nan"))], [message("\ud800")], [message(1, id=" ")], [message(1, created_at=-1)],
            [message(1), message({1: 2})], [message(1, unknown=1)], [message(1, id="a"), message(2, id="a")],
        ):  # fmt: skip
            with self.subTest(bad=bad):
                self.assertRaises(InvalidData, self.sessions.save, self.session_id, bad)
                self.assertRaises(InvalidData, self.sessions.append, self.session_id, bad)
        for limit in (0, -1, 1.5, True, "1"):
            self.assertRaises(InvalidData, self.sessions.append, self.session_id, [message(1)], max_messages=limit)
        for n in (-1, None, 2**31, "1"):
            self.assertRaises(InvalidData, self.sessions.load_recent, self.session_id, n)
        self.assertEqual(self.data(), ["before"])

    def test_session_id_that_is_no_identifier_is_refused(self) -> None:
        sessions: Any = self.sessions
        for bad in BAD_IDS:
            with self.subTest(bad=bad):
                for call in (sessions.load, sessions.get, sessions.count, sessions.delete, sessions.lock):
                    self.assertRaises(InvalidData, call, bad)
                self.assertRaises(InvalidData, sessions.save, bad, [])
                self.assertRaises(InvalidData, sessions.fork, bad, "x")
                self.assertRaises(InvalidData, sessions.merge_metadata, bad, {})
                self.assertRaises(InvalidData, sessions.for_user, bad)

    def test_any_identifier_is_a_session_id(self) -> None:
        for index, session_id in enumerate(SESSION_IDS):
            self.everybody.delete(session_id)
            self.sessions.save(session_id, [message(index)])
        self.assertEqual([self.data(session_id) for session_id in SESSION_IDS], [[i] for i in range(len(SESSION_IDS))])
        self.assertEqual(sorted(record.id for record in self.sessions.list()), sorted(SESSION_IDS))
        self.assertTrue(all(self.sessions.delete(session_id) for session_id in SESSION_IDS))

    # Metadata

    def test_metadata_is_merged(self) -> None:
        self.assertEqual(
            self.sessions.merge_metadata(self.session_id, {"a": 1, "b": {"x": 1}}), {"a": 1, "b": {"x": 1}}
        )
        self.assertEqual(self.sessions.merge_metadata(self.session_id, {"b": {"y": 2}, "a": None}), {"b": {"y": 2}})
        self.assertEqual(self.sessions.merge_metadata(self.session_id, {}), {"b": {"y": 2}})
        self.sessions.save(self.session_id, [message(1)])
        record = self.sessions.get(self.session_id)
        self.assertEqual(record and record.metadata, {"b": {"y": 2}})

    def test_racing_merges_are_all_kept(self) -> None:
        names = [f"key {number}" for number in range(6)]
        self.race(*[lambda name=name: self.sessions.merge_metadata(self.session_id, {name: 1}) for name in names])
        self.assertEqual(self.sessions.merge_metadata(self.session_id, {}), dict.fromkeys(names, 1))

    def test_metadata_is_checked_as_a_whole(self) -> None:
        with override_settings(CONTEXT_STORE_MAX_PAYLOAD_BYTES=1000):
            for number in range(4):
                self.sessions.merge_metadata(self.session_id, {f"key {number}": "x" * 200})
            with self.assertRaisesRegex(InvalidData, "CONTEXT_STORE_MAX_PAYLOAD_BYTES"):
                self.sessions.merge_metadata(self.session_id, {"one more": "x" * 200})
            merged = self.sessions.merge_metadata(self.session_id, {"key 0": None, "one more": "x" * 200})
            self.assertEqual(sorted(merged), ["key 1", "key 2", "key 3", "one more"])

    def test_bad_metadata_is_refused(self) -> None:
        sessions: Any = self.sessions
        bad: Any
        for bad in (None, [], "x", {"a": float("nan")}, {"a": "\0"}, {1: 2}):
            self.assertRaises(InvalidData, sessions.merge_metadata, self.session_id, bad)
        self.assertIsNone(self.sessions.get(self.session_id))

    # Whole sessions

    def test_get(self) -> None:
        self.sessions.append(self.session_id, [message(1), message(2)])
        self.sessions.merge_metadata(self.session_id, {"a": 1})
        record = self.sessions.get(self.session_id)
        assert record is not None
        self.assertEqual(
            record, SessionRecord(self.session_id, self.user, {"a": 1}, 2, record.created_at, record.updated_at)
        )
        self.assertGreaterEqual(record.updated_at, record.created_at)

    def test_fork_copies(self) -> None:
        self.sessions.save(self.session_id, [message(number) for number in range(3)])
        self.sessions.merge_metadata(self.session_id, {"a": 1})
        fork = self.sessions.fork(self.session_id, new_id())
        self.assertEqual((fork.user_id, fork.metadata, fork.message_count), (self.user, {"a": 1}, 3))
        source, copy = self.sessions.load(self.session_id), self.sessions.load(fork.id)
        self.assertEqual([item[1:] for item in copy], [item[1:] for item in source])
        self.assertFalse({item.id for item in copy} & {item.id for item in source})
        self.sessions.append(fork.id, [message("fork")])
        self.sessions.save(self.session_id, [message("source")])
        self.assertEqual(self.data(fork.id), [0, 1, 2, "fork"])
        self.assertEqual(self.data(), ["source"])

    def test_fork_makes_an_id(self) -> None:
        self.sessions.save(self.session_id, [message(1)])
        fork = self.everybody.fork(self.session_id)
        self.assertNotEqual(fork.id, self.session_id)
        self.assertEqual(fork.user_id, self.user)

    def test_fork_onto_an_existing_session_conflicts(self) -> None:
        self.sessions.save(self.session_id, [message(1)])
        mine, theirs = new_id(), new_id()
        self.sessions.save(mine, [message("mine")])
        self.everybody.for_user(self.other).save(theirs, [message("theirs")])
        for taken in (mine, theirs, self.session_id):
            self.assertRaises(IdConflict, self.sessions.fork, self.session_id, taken)
        self.assertEqual([self.data(mine), self.data(theirs)], [["mine"], ["theirs"]])

    def test_fork_of_a_missing_session(self) -> None:
        self.assertRaises(SessionDoesNotExist, self.sessions.fork, self.session_id, new_id())

    def test_of_racing_forks_one_wins(self) -> None:
        target = new_id()
        sources = [new_id() for _ in range(4)]
        for source in sources:
            self.sessions.save(source, [message(source), message(source)])
        results = self.race(*[lambda source=source: self.sessions.fork(source, target) for source in sources])
        won = [source for source, result in zip(sources, results, strict=True) if isinstance(result, SessionRecord)]
        self.assertEqual(len(won), 1)
        self.assertEqual(sum(isinstance(result, IdConflict) for result in results), 3)
        self.assertEqual(self.data(target), won * 2)

    def test_delete(self) -> None:
        self.sessions.save(self.session_id, [message(1)])
        self.sessions.merge_metadata(self.session_id, {"a": 1})
        self.assertTrue(self.sessions.delete(self.session_id))
        self.assertFalse(self.sessions.delete(self.session_id))
        self.assertEqual(self.data(), [])
        self.assertEqual(self.sessions.list(), [])
        self.assertEqual(self.sessions.merge_metadata(self.session_id, {"b": 1}), {"b": 1})

    def test_of_racing_deletes_one_wins(self) -> None:
        self.sessions.save(self.session_id, [message(1)])
        self.assertEqual(
            sorted(self.race(*[lambda: self.sessions.delete(self.session_id)] * 4)), [False, False, False, True]
        )

    # Lists

    def test_list_has_the_last_written_first(self) -> None:
        ids = [new_id() for _ in range(5)]
        for session_id in ids:
            self.sessions.append(session_id, [message(1)])
            self.tick()
        self.sessions.append(ids[1], [message(2)])
        self.tick()
        self.sessions.merge_metadata(ids[3], {"a": 1})
        order = [ids[3], ids[1], ids[4], ids[2], ids[0]]
        listed = self.sessions.list()
        self.assertEqual([record.id for record in listed], order)
        self.assertEqual(listed, [self.sessions.get(session_id) for session_id in order])
        self.assertEqual([record.message_count for record in listed], [1, 2, 1, 1, 1])
        self.assertEqual(self.sessions.list(limit=2, offset=1), listed[1:3])
        self.assertEqual(self.sessions.list(limit=0), [])
        self.assertEqual(self.sessions.list(offset=4), listed[4:])
        self.assertEqual(self.sessions.list(offset=9), [])
        self.assertEqual(self.everybody.list(user_id=self.user, limit=2), listed[:2])
        self.assertRaises(InvalidData, self.sessions.list, limit=-1)
        self.assertRaises(InvalidData, self.sessions.list, offset=-1)

    def tick(self) -> None:
        """Wait until another millisecond has begun."""
        threading.Event().wait(0.002)

    def test_sessions_without_a_user_have_a_list_of_their_own(self) -> None:
        everybody = self.make_sessions(USER_ID=self.other)
        everybody.save(self.session_id, [message(1)])
        self.sessions.save(new_id(), [message(1)])
        self.assertEqual([record.id for record in everybody.list()], [self.session_id])

    # Users

    def test_sessions_of_others_do_not_exist(self) -> None:
        self.everybody.for_user(self.other).save(self.session_id, [message("theirs")])
        self.everybody.for_user(self.other).merge_metadata(self.session_id, {"a": 1})
        self.assertEqual(self.sessions.load(self.session_id), [])
        self.assertEqual(self.sessions.load_recent(self.session_id, 1), [])
        self.assertEqual(self.sessions.count(self.session_id), 0)
        self.assertIsNone(self.sessions.get(self.session_id))
        self.assertFalse(self.sessions.delete(self.session_id))
        self.assertRaises(SessionDoesNotExist, self.sessions.fork, self.session_id, new_id())
        self.assertEqual(self.sessions.list(), [])
        self.assertEqual(self.sessions.list(user_id=self.other), [])
        for write in (
            lambda: self.sessions.save(self.session_id, [message("mine")]),
            lambda: self.sessions.append(self.session_id, [message("mine")]),
            lambda: self.sessions.merge_metadata(self.session_id, {"a": 2}),
            lambda: self.sessions.lock(self.session_id).acquire(),
        ):
            self.assertRaises(OwnerMismatch, write)
        record = self.everybody.get(self.session_id)
        assert record is not None
        self.assertEqual((self.data(), record.user_id, record.metadata), (["theirs"], self.other, {"a": 1}))
        self.assertEqual(self.sessions.list(), [])

    def test_without_a_user_sessions_stay_whose_they_are(self) -> None:
        self.sessions.save(self.session_id, [message(1)])
        self.everybody.append(self.session_id, [message(2)])
        record = self.everybody.get(self.session_id)
        self.assertEqual(record and record.user_id, self.user)

    def test_of_racing_users_one_gets_the_session(self) -> None:
        users = [f"user {new_id()}" for _ in range(4)]
        results = self.race(
            *[
                lambda user=user: self.everybody.for_user(user).append(self.session_id, [message(user)])
                for user in users
            ]
        )
        self.assertEqual(sum(isinstance(result, OwnerMismatch) for result in results), 3)
        record = self.everybody.get(self.session_id)
        self.assertEqual(self.data(), [record and record.user_id])

    # Locks

    def test_lock_lets_one_take_a_turn(self) -> None:
        self.sessions.save(self.session_id, [])

        def turn() -> None:
            with self.everybody.lock(self.session_id, blocking_timeout=30):
                history = self.sessions.load(self.session_id)
                self.sessions.append(self.session_id, [message(len(history))])

        self.race(*[turn] * 5)
        self.assertEqual(self.data(), list(range(5)))

    def test_held_lock_times_out(self) -> None:
        self.sessions.save(self.session_id, [])
        with self.sessions.lock(self.session_id), self.assertRaises(LockTimeout):
            self.everybody.lock(self.session_id, blocking_timeout=0.05).__enter__()
        with self.sessions.lock(new_id()), self.sessions.lock(self.session_id, blocking_timeout=0.05):
            pass

    def test_lock_of_a_session_to_be_holds_up_its_user_alone(self) -> None:
        other = self.everybody.for_user(self.other)
        with self.sessions.lock(self.session_id), other.lock(self.session_id, blocking_timeout=0) as theirs:
            self.assertFalse(self.sessions.lock(self.session_id).acquire(blocking=False))
            self.sessions.save(self.session_id, [])
            # What others hold of it counts for nothing, and they get no more of it.
            self.assertTrue(theirs.release())
            self.assertRaises(OwnerMismatch, theirs.acquire)
            self.assertFalse(self.everybody.lock(self.session_id).acquire(blocking=False))

    def test_lock_expires(self) -> None:
        self.sessions.lock(self.session_id, timeout=0.2).acquire()
        with self.sessions.lock(self.session_id, blocking_timeout=5):
            pass

    # Async

    @async_to_sync
    async def test_async_lock_may_be_awaited(self) -> None:
        await self.sessions.asave(self.session_id, [])
        async with await self.sessions.alock(self.session_id), self.sessions.alock(new_id()):
            self.assertFalse(await self.everybody.lock(self.session_id).aacquire(blocking=False))

    @async_to_sync
    async def test_async_twins(self) -> None:
        async with self.sessions.alock(self.session_id):
            await self.sessions.asave(self.session_id, [message(1)])
            await self.sessions.aappend(self.session_id, [message(2)])
        await asyncio.gather(*[self.sessions.aappend(self.session_id, [message(3)]) for _ in range(3)])
        self.assertEqual([item.data for item in await self.sessions.aload(self.session_id)], [1, 2, 3, 3, 3])
        self.assertEqual([item.data for item in await self.sessions.aload_recent(self.session_id, 1)], [3])
        self.assertEqual(await self.sessions.acount(self.session_id), 5)
        self.assertEqual(await self.sessions.amerge_metadata(self.session_id, {"a": 1}), {"a": 1})
        record = await self.sessions.aget(self.session_id)
        self.assertEqual(await self.sessions.alist(limit=1), [record])
        fork = await self.sessions.afork(self.session_id, new_id())
        self.assertTrue(await self.sessions.adelete(fork.id))
