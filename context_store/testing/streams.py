"""
The contract of streams. A backend runs it like this:

    class DatabaseTests(StreamsContract, TransactionTestCase):
        backend = DatabaseStreams

It stores chats and messages in the database, so that its base class has to commit: ``TransactionTestCase``.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from asgiref.sync import async_to_sync
from django.core.exceptions import ObjectDoesNotExist
from django.db import connections, transaction
from django.test import override_settings

from context_store.exceptions import IdConflict, InvalidData, StreamCancelled, StreamConflict
from context_store.polling import poller
from context_store.records import StreamRecord
from context_store.store import ContextStore
from context_store.streams import BaseStreams

from .base import Contract

# Values that some encoding loses: a zero with a sign, an integer beyond 64 bits, an order of keys, U+0000, U+2028.
CHUNKS: list[Any] = [
    "text", "", None, True, 0, -1, 10**40, 1.5, -0.0, [], {}, {"z": 1, "a": [None]}, "\u2028 \U0001f40d é\n", "\0",
]  # fmt: skip
# Seconds that nothing here takes unless it hangs.
LONG = 60


class StreamsContract(Contract):
    """What every backend does. Set ``backend`` and ``options``, or override ``make_streams``."""

    backend: ClassVar[type[BaseStreams]]
    options: ClassVar[Mapping[str, Any]] = {}
    # The database that the chats are in.
    using: ClassVar[str | None] = None
    # Seconds of a lease that is over soon, for the person who waits for the tests.
    short_lease: ClassVar[float] = 0.5

    def make_streams(self, **options: Any) -> BaseStreams:
        """Return streams with these options, over what earlier ones stored."""
        return self.backend("contract", {**self.options, **options})

    def setUp(self) -> None:
        """Make a chat with a question, and the streams."""
        super().setUp()
        self.store = ContextStore(using=self.using)
        self.store.create_chat("chat", user_id="alice")
        self.store.append_messages("chat", [{"id": "question", "name": "user", "data": "Why?"}])
        self.streams = self.make_streams()

    def tearDown(self) -> None:
        """Wait until no reader is left."""
        # The poller is one for the whole process: a reader that is left over would look into the next test's database.
        deadline = time.monotonic() + LONG
        while poller().count() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(poller().count(), 0)
        super().tearDown()

    def running(self, stream_id: str = "s", **options: Any) -> None:
        """Make a stream that runs."""
        self.streams.create("chat", stream_id, **{"format": "text", **options})
        self.streams.claim(stream_id)

    def status(self, stream_id: str = "s") -> str:
        """Return the status of a stream."""
        return self.streams.require(stream_id).status

    def answer(self) -> Any:
        """Return the last message of the chat's active branch."""
        return self.store.get_messages("chat")[-1]

    def in_thread(self, function: Callable[[], Any]) -> "Thread":
        """Run the function in a thread, for which the test waits at its end."""
        thread = Thread(function)
        self.addCleanup(thread.join, LONG)
        return thread

    def read_all(self, stream_id: str = "s", *, after: int = -1) -> list[Any]:
        """Return the chunks that a reader gets until the end."""
        return [(chunk.seq, chunk.data) for chunk in self.streams.follow(stream_id, after=after)]

    # Streams

    def test_new_stream_is_queued(self) -> None:
        record = self.streams.create("chat", "s", message_id="m", format="text")
        self.assertEqual(record[:7], ("s", "chat", "m", "text", "queued", -1, None))
        self.assertEqual(self.streams.get("s"), record)
        self.assertEqual(record[8:12], (None,) * 4)

    def test_stream_needs_its_chat(self) -> None:
        self.assertRaises(ObjectDoesNotExist, self.streams.create, "nothing", "s")

    def test_taken_id_conflicts(self) -> None:
        self.streams.create("chat", "s")
        self.assertRaises(IdConflict, self.streams.create, "chat", "s")

    def test_id_of_several_chats_asks_for_the_chat(self) -> None:
        self.store.create_chat("other", user_id="alice")
        for chat_id in ("chat", "other"):
            self.streams.create(chat_id, "s")
        self.assertRaises(IdConflict, self.streams.get, "s")
        self.assertEqual(self.streams.require("s", "other").chat_id, "other")

    def test_upsert_creates_once(self) -> None:
        first, created = self.streams.upsert("chat", "s")
        self.assertTrue(created)
        self.assertEqual(self.streams.upsert("chat", "s", format="text"), (first, False))

    def test_upsert_checks_what_it_would_create(self) -> None:
        self.streams.upsert("chat", "s")
        for name, value in (("format", "a\x9b"), ("message_id", ""), ("branch", " main")):
            with self.assertRaises(InvalidData):
                self.streams.upsert("chat", "s", **{name: value})

    def test_list_is_newest_first_and_by_status(self) -> None:
        for stream_id in "abc":
            self.streams.create("chat", stream_id)
        self.streams.claim("b")
        self.assertEqual([record.id for record in self.streams.list("chat")], ["c", "b", "a"])
        self.assertEqual([record.id for record in self.streams.list("chat", status="queued")], ["c", "a"])
        self.assertEqual([record.id for record in self.streams.list("chat", limit=1, offset=1)], ["b"])
        self.assertRaises(InvalidData, self.streams.list, "chat", status="nonsense")
        self.assertRaises(ObjectDoesNotExist, self.streams.list, "nothing")

    def test_missing_stream_does_not_exist(self) -> None:
        self.assertIsNone(self.streams.get("s"))
        self.assertFalse(self.streams.delete("s"))
        for call in (self.streams.claim, self.streams.read, self.streams.cancel, self.streams.reopen):
            self.assertRaises(ObjectDoesNotExist, call, "s")
        self.assertRaises(ObjectDoesNotExist, self.streams.append, "s", ["a"])
        self.assertRaises(ObjectDoesNotExist, list, self.streams.follow("s"))

    def test_streams_of_others_do_not_exist(self) -> None:
        self.running()
        before = self.streams.get("s")
        mallory = self.streams.for_user("mallory")
        self.assertIsNone(mallory.get("s"))
        self.assertIsNone(mallory.get("s", chat_id="chat"))
        self.assertFalse(mallory.delete("s"))
        for call in (mallory.claim, mallory.read, mallory.cancel, mallory.reopen, mallory.finish):
            self.assertRaises(ObjectDoesNotExist, call, "s")
        scopes: list[dict[str, Any]] = [{}, {"chat_id": "chat"}]
        for with_chat in scopes:
            self.assertRaises(ObjectDoesNotExist, mallory.append, "s", ["a"], **with_chat)
            self.assertRaises(ObjectDoesNotExist, list, mallory.follow("s", **with_chat))
            self.assertRaises(ObjectDoesNotExist, mallory.produce("s", **with_chat).__enter__)
            self.assertRaises(ObjectDoesNotExist, mallory.update, "s", lambda record: {"status": "failed"}, **with_chat)
        self.assertRaises(ObjectDoesNotExist, mallory.list, "chat")
        self.assertRaises(ObjectDoesNotExist, mallory.create, "chat", "t")
        self.assertRaises(ObjectDoesNotExist, mallory.upsert, "chat", "t")
        self.assertEqual(self.streams.get("s"), before)
        self.assertEqual(self.streams.for_user("alice").get("s"), before)

    def test_deleted_chat_takes_its_streams_with_it(self) -> None:
        self.running()
        self.streams.append("s", ["a"])
        self.store.delete_chat("chat")
        self.assertIsNone(self.streams.get("s"))
        self.store.create_chat("chat", user_id="alice")
        self.streams.create("chat", "s")
        self.assertEqual(self.streams.read("s"), [])

    # Chunks

    def test_chunks_come_back_as_they_went_in(self) -> None:
        self.running()
        self.assertEqual(self.streams.append("s", CHUNKS), len(CHUNKS) - 1)
        read = self.streams.read("s")
        self.assertEqual([repr(chunk.data) for chunk in read], [repr(chunk) for chunk in CHUNKS])
        self.assertEqual([chunk.seq for chunk in read], list(range(len(CHUNKS))))

    def test_read_takes_up_after_a_seq(self) -> None:
        self.running()
        self.streams.append("s", list("abcd"))
        self.assertEqual([chunk.data for chunk in self.streams.read("s", after=1)], ["c", "d"])
        self.assertEqual([chunk.data for chunk in self.streams.read("s", after=0, limit=2)], ["b", "c"])
        self.assertEqual(self.streams.read("s", after=3), [])

    def test_read_ends_before_it_is_large(self) -> None:
        self.running()
        self.streams.append("s", list("abcd"))
        self.assertEqual([chunk.data for chunk in self.streams.read("s", limit=4, max_bytes=7)], ["a", "b"])
        self.assertEqual([chunk.data for chunk in self.streams.read("s", limit=4, max_bytes=0)], ["a"])
        # Without a limit it does not count.
        self.assertEqual([chunk.data for chunk in self.streams.read("s", max_bytes=7)], list("abcd"))
        for wrong in ("7", 7.5, -1, True):
            with self.assertRaises(InvalidData):
                self.streams.read("s", limit=4, max_bytes=wrong)  # type: ignore[arg-type]

    def test_very_many_chunks_are_read_in_their_order(self) -> None:
        self.running()
        # Large ones among them, which a backend may read in another way.
        chunks = [f"{number} {'ü' * 5_000 * (number % 400 == 399)}" for number in range(1_300)]
        self.streams.append("s", chunks[:700])
        self.streams.append("s", chunks[700:])
        self.assertEqual([chunk.data for chunk in self.streams.read("s")], chunks)
        self.assertEqual([chunk.data for chunk in self.streams.read("s", after=397)], chunks[398:])
        seqs = [chunk.seq for chunk in self.streams.read("s", after=5, limit=700)]
        self.assertEqual(seqs, list(range(6, 706)))

    def test_refused_chunk_keeps_all_from_being_stored(self) -> None:
        self.running()
        with self.assertRaises(InvalidData) as caught:
            self.streams.append("s", ["a", {"b": float("nan")}])
        self.assertEqual(caught.exception.path, ("chunks", 1, "b"))
        self.assertEqual(self.streams.read("s"), [])

    def test_stream_has_a_size_that_it_does_not_exceed(self) -> None:
        self.running()
        with override_settings(CONTEXT_STORE_MAX_PAYLOAD_BYTES=100):
            self.streams.append("s", ["a"] * 5)
            with self.assertRaises(InvalidData) as caught:
                self.streams.append("s", ["b", "c"])
            self.assertEqual(caught.exception.path, ("chunks",))
            self.assertEqual(self.streams.append("s", []), 4)
            self.assertEqual(self.streams.append("s", ["d"]), 5)
            self.assertEqual([chunk.data for chunk in self.streams.read("s")], [*"aaaaad"])
            self.streams.finish("s", "failed")
            self.streams.reopen("s")
            self.streams.claim("s")
            self.assertEqual(self.streams.append("s", ["e"] * 6), 5)

    def test_batch_whose_answer_was_lost_is_stored_once(self) -> None:
        self.running()
        self.streams.append("s", ["Because"])
        record = self.streams.require("s")
        texts, _ = self.streams.encoded(["of ", "it", "."])
        # Seq 0 is "Because". The first call stores 1 and 2, and its answer is thought lost; the second has all three
        # again, of which only the last is new; the third has nothing and tells where the stream is.
        self.assertEqual(self.streams.append_texts(record, texts[:2], after=0), (2, False))
        self.assertEqual(self.streams.append_texts(record, texts, after=0), (3, False))
        self.assertEqual(self.streams.append_texts(record, [], after=3), (3, False))
        self.assertEqual([chunk.data for chunk in self.streams.read("s")], ["Because", "of ", "it", "."])

    def test_only_a_running_stream_takes_chunks(self) -> None:
        self.streams.create("chat", "s", format="text")
        self.assertRaises(StreamConflict, self.streams.append, "s", ["a"])
        self.streams.claim("s")
        self.streams.finish("s")
        self.assertRaises(StreamConflict, self.streams.append, "s", ["a"])

    def test_producer_that_lost_its_stream_writes_into_no_other(self) -> None:
        self.running()
        lost = self.streams.require("s").started_at
        self.streams.finish("s", "failed")
        self.streams.reopen("s")
        # Claims are told apart by their time in milliseconds.
        time.sleep(0.002)
        self.streams.claim("s")
        self.assertRaises(StreamConflict, self.streams.append, "s", ["old"], started_at=lost)
        self.assertRaises(InvalidData, self.streams.append, "s", ["old"], started_at=2**63)
        self.assertEqual(self.streams.read("s"), [])

    def test_chunk_of_type_error_fails_the_stream(self) -> None:
        self.running(format="ui")
        self.streams.append("s", [{"type": "error", "errorText": "overloaded"}, {"type": "finish"}])
        record = self.streams.require("s")
        self.assertEqual((record.status, record.error, record.last_seq), ("failed", "overloaded", 0))

    # States

    def test_second_claim_conflicts(self) -> None:
        self.running()
        self.assertRaises(StreamConflict, self.streams.claim, "s")

    def test_of_racing_claims_one_wins(self) -> None:
        self.streams.create("chat", "s")
        threads = [self.in_thread(lambda: self.streams.claim("s")) for _ in range(4)]
        self.assertEqual([type(thread.outcome()) for thread in threads].count(StreamConflict), 3)

    def test_first_end_wins(self) -> None:
        self.running()
        first = self.streams.finish("s", "failed", error="once")
        self.assertEqual(self.streams.finish("s", "completed"), first)
        self.assertEqual(self.streams.cancel("s"), first)
        self.assertEqual(first.error, "once")

    def test_only_a_claimed_stream_is_completed(self) -> None:
        self.streams.create("chat", "s")
        self.assertRaises(StreamConflict, self.streams.finish, "s")
        self.assertRaises(InvalidData, self.streams.finish, "s", "running")
        with self.assertRaisesRegex(StreamConflict, "takes no chunks: it is queued, claim it first"):
            self.streams.append("s", ["a"])

    def test_queued_stream_is_cancelled_at_once(self) -> None:
        self.streams.create("chat", "s")
        self.assertEqual(self.streams.cancel("s").status, "cancelled")

    def test_cancelled_is_what_a_running_stream_becomes(self) -> None:
        self.running()
        record = self.streams.cancel("s")
        self.assertEqual(record.status, "running")
        self.assertIsNotNone(record.cancel_requested_at)
        self.assertEqual(self.streams.finish("s", "completed").status, "cancelled")

    def test_cancelled_stream_is_told_with_its_chunks(self) -> None:
        self.running()
        self.streams.append("s", ["a", "b"])
        asked = self.streams.cancel("s")
        self.assertEqual((asked.status, asked.last_seq), ("running", 1))
        self.assertEqual(asked, self.streams.get("s"))

    def test_reopened_stream_begins_anew(self) -> None:
        self.running()
        self.streams.append("s", ["a"])
        self.assertRaises(StreamConflict, self.streams.reopen, "s")
        self.streams.finish("s", "failed", error="no")
        record = self.streams.reopen("s")
        self.assertEqual((record.status, record.last_seq, record.error, record.finished_at), ("queued", -1, None, None))
        self.assertEqual(self.streams.read("s"), [])
        self.streams.claim("s")
        self.assertEqual(self.streams.append("s", ["b"]), 0)

    def test_update_changes_the_state(self) -> None:
        self.streams.create("chat", "s")
        self.assertEqual(self.streams.update("s", lambda record: {"status": "running"}).status, "running")
        self.assertEqual(self.streams.update("s", lambda record: None).status, "running")
        record = self.streams.update("s", lambda record: {"status": "failed", "error": "no"})
        self.assertEqual((record.status, record.error), ("failed", "no"))
        self.assertRaises(InvalidData, self.streams.update, "s", lambda record: {"last_seq": 7})

    def test_updater_is_called_again_where_the_stream_has_changed(self) -> None:
        self.running()
        seen: list[int] = []

        def end(record: StreamRecord) -> dict[str, Any]:
            seen.append(record.last_seq)
            if len(seen) == 1:
                self.streams.append("s", ["a"])
            elif len(seen) == 2:
                self.streams.cancel("s")
            return {"status": "failed"}

        self.assertEqual(self.streams.update("s", end).status, "cancelled")
        # A chunk comes before the first attempt writes, a cancel before the second, nothing before the third.
        self.assertEqual(seen, [-1, 0, 0])

    def test_deleted_stream_is_gone_with_its_chunks(self) -> None:
        self.running()
        self.streams.append("s", ["a"])
        self.assertTrue(self.streams.delete("s"))
        self.assertIsNone(self.streams.get("s"))
        self.running()
        self.assertEqual(self.streams.read("s"), [])

    # The answer

    def test_completed_stream_is_a_message(self) -> None:
        self.running(message_id="m")
        self.streams.append("s", ["Because ", "of it."])
        self.streams.finish("s")
        answer = self.answer()
        self.assertEqual((answer.id, answer.parent_id, answer.name), ("m", "question", "assistant"))
        self.assertEqual(answer.data, {"content": "Because of it."})

    def test_failed_stream_keeps_what_was_said_and_is_marked(self) -> None:
        self.running()
        self.streams.append("s", ["Because "])
        self.streams.finish("s", "failed", error="gone")
        metadata = {"status": "failed", "error": "gone"}
        self.assertEqual(self.answer().data, {"content": "Because ", "metadata": metadata})

    def test_stream_that_said_nothing_leaves_no_message(self) -> None:
        self.running()
        self.streams.finish("s", "failed", error="gone")
        self.assertEqual(self.answer().id, "question")

    def test_parts_of_a_ui_message_are_put_together(self) -> None:
        self.running(format="ui")
        text = [{"type": "text-start", "id": "1"}, {"type": "text-delta", "id": "1", "delta": "Be"}]
        self.streams.append("s", [{"type": "start"}, *text, {"type": "text-delta", "id": "1", "delta": "cause"}])
        call = {"toolCallId": "c", "toolName": "look", "input": {"a": 1}}
        self.streams.append("s", [{"type": "tool-input-available", **call}])
        self.streams.append("s", [{"type": "tool-output-available", "toolCallId": "c", "output": [2]}])
        self.streams.finish("s")
        tool = {"type": "tool-look", "toolCallId": "c", "state": "output-available", "input": {"a": 1}, "output": [2]}
        self.assertEqual(
            self.answer().data, {"role": "assistant", "parts": [{"type": "text", "text": "Because"}, tool]}
        )

    def test_message_of_the_producer_is_the_answer(self) -> None:
        self.running(format="own")
        self.streams.append("s", [{"delta": "a"}])
        self.streams.finish("s", message={"name": "assistant", "data": "All of it"})
        self.assertEqual(self.answer().data, "All of it")

    def test_refused_message_ends_nothing(self) -> None:
        self.running()
        for message in ({"name": "assistant"}, {"name": "assistant", "data": float("nan")}):
            self.assertRaises(InvalidData, self.streams.finish, "s", message=message)
        self.assertEqual(self.status(), "running")

    def test_message_that_is_there_is_filled_in(self) -> None:
        self.store.append_messages("chat", [{"id": "m", "name": "assistant", "data": {"content": ""}}])
        self.running(message_id="m")
        self.streams.append("s", ["Because"])
        self.streams.finish("s")
        self.assertEqual([message.id for message in self.store.get_messages("chat")], ["question", "m"])
        self.assertEqual(self.answer().data, {"content": "Because"})

    def test_ui_message_that_called_tools_goes_on(self) -> None:
        call = {"type": "tool-look", "toolCallId": "c", "state": "approval-responded", "input": {}}
        asked = {"id": "m", "role": "assistant", "parts": [{"type": "step-start"}, call]}
        self.store.append_messages("chat", [{"id": "m", "name": "assistant", "type": "ai_sdk", "data": asked}])
        self.running(message_id="m", format="ui")
        self.streams.append("s", [{"type": "tool-output-available", "toolCallId": "c", "output": 1}])
        self.streams.append("s", [{"type": "start-step"}, {"type": "text-delta", "id": "1", "delta": "One."}])
        self.streams.finish("s")
        answer = self.answer()
        self.assertEqual((answer.id, answer.parent_id, answer.type), ("m", "question", "ai_sdk"))
        said = [{**call, "state": "output-available", "output": 1}, {"type": "step-start"}]
        self.assertEqual(
            answer.data, {**asked, "parts": [*asked["parts"][:1], *said, {"type": "text", "text": "One."}]}
        )

    def test_answer_that_is_written_again_replaces_the_first(self) -> None:
        self.running(message_id="m", format="ui")
        call = {"type": "tool-input-available", "toolCallId": "c", "toolName": "look", "input": {}}
        self.streams.append("s", [call])
        self.streams.finish("s")
        self.streams.reopen("s")
        self.streams.claim("s")
        self.streams.append("s", [{"type": "text-delta", "id": "1", "delta": "One."}])
        self.streams.finish("s")
        self.assertEqual(self.answer().data["parts"], [{"type": "text", "text": "One."}])

    def test_answer_stands_below_its_question_wherever_the_chat_has_gone_on(self) -> None:
        self.running(message_id="m")
        # The head has moved off the question while the answer was written.
        self.store.append_messages("chat", [{"id": "next", "name": "user", "data": "And?"}])
        self.streams.append("s", ["Because"])
        self.streams.finish("s")
        self.assertEqual(self.answer().id, "next")
        found = self.store.get_message("m", chat_id="chat")
        self.assertEqual(found and found.parent_id, "question")

    def test_answer_follows_its_branch_when_another_is_active(self) -> None:
        self.running(message_id="m")
        self.store.create_branch("chat", "aside", is_active=True)
        self.streams.append("s", ["Because"])
        self.streams.finish("s")
        self.assertEqual(self.store.get_messages("chat"), [])
        self.assertEqual(self.store.get_messages("chat", branch="main")[-1].id, "m")

    # Producers

    def test_producer_completes_the_stream(self) -> None:
        self.streams.create("chat", "s", format="text")
        with self.streams.produce("s") as producer:
            for number in range(50):
                producer.write(f"{number} ")
        self.assertEqual(self.status(), "completed")
        self.assertEqual(self.answer().data["content"], "".join(f"{number} " for number in range(50)))

    def test_what_waits_is_stored_while_the_model_is_silent(self) -> None:
        self.streams.create("chat", "s", format="text")
        with self.streams.produce("s") as producer:
            producer.write("a")
            self.wait_until(lambda: len(self.streams.read("s")) == 1)

    def test_producer_within_a_transaction_completes_the_stream(self) -> None:
        self.streams.create("chat", "s", format="text")
        with transaction.atomic(using=self.using), self.streams.produce("s") as producer:
            for _ in range(3):
                producer.write("a")
                time.sleep(0.1)
        self.assertEqual(self.streams.require("s").status, "completed")
        self.assertEqual([chunk.data for chunk in self.streams.read("s")], ["a"] * 3)

    def test_exception_fails_the_stream_with_its_text(self) -> None:
        self.streams.create("chat", "s", format="text")
        with self.assertRaisesRegex(ValueError, "overloaded"), self.streams.produce("s") as producer:
            producer.write("Because ")
            raise ValueError("overloaded")
        record = self.streams.require("s")
        self.assertEqual((record.status, record.error), ("failed", "overloaded"))
        self.assertEqual(self.answer().data["content"], "Because ")

    def test_producer_is_told_of_the_end_that_was_asked_for(self) -> None:
        self.streams.create("chat", "s", format="text")
        with self.streams.produce("s") as producer:
            producer.write("Because ")
            self.streams.cancel("s")
            self.wait_until(lambda: producer.is_cancelled)
            self.assertRaises(StreamCancelled, producer.write, "more")
        self.assertEqual(self.status(), "cancelled")
        self.assertEqual(self.answer().data, {"content": "Because ", "metadata": {"status": "cancelled"}})

    def test_write_that_tells_of_the_end_leaves_the_block_quietly(self) -> None:
        self.streams.create("chat", "s", format="text")
        with self.streams.produce("s") as producer:
            self.streams.cancel("s")
            # Until a write is told, which takes a batch or a beat; the bound is for a backend that never tells.
            for number in range(LONG * 100):
                producer.write(f"{number} ")
                time.sleep(0.01)
        self.assertEqual(self.status(), "cancelled")

    def test_error_chunk_of_a_producer_fails_the_stream(self) -> None:
        self.streams.create("chat", "s")
        with self.streams.produce("s") as producer:
            producer.write({"type": "error", "errorText": "overloaded"})
            producer.write({"type": "finish"})
        self.assertEqual(self.streams.require("s").error, "overloaded")
        self.assertEqual(len(self.streams.read("s")), 1)

    def test_message_of_a_block_is_the_answer(self) -> None:
        self.streams.create("chat", "s", format="own")
        with self.streams.produce("s") as producer:
            producer.write({"piece": 1})
            producer.message = {"name": "assistant", "data": "All of it"}
        self.assertEqual(self.answer().data, "All of it")

    def test_silent_producer_keeps_its_lease(self) -> None:
        self.streams = self.make_streams(LEASE=self.short_lease)
        self.streams.create("chat", "s", format="text")
        with self.streams.produce("s"):
            # The block writes nothing for three leases: whoever beats for it keeps it.
            time.sleep(self.short_lease * 3)
            self.assertEqual(self.streams.reap().ended, 0)
        self.assertEqual(self.status(), "completed")

    def test_producer_that_lost_its_stream_is_told(self) -> None:
        self.streams.create("chat", "s", format="text")
        with self.assertRaises(StreamConflict), self.streams.produce("s") as producer:
            self.streams.finish("s", "failed", error="taken away")
            for number in range(LONG * 100):
                producer.write(f"{number} ")
                time.sleep(0.01)
        self.assertEqual(self.streams.require("s").error, "taken away")

    def test_asynchronous_producer_and_reader(self) -> None:
        async def talk() -> list[Any]:
            await self.streams.acreate("chat", "s", format="text")
            reader = asyncio.create_task(self.aread_all())
            async with self.streams.produce("s") as producer:
                for number in range(50):
                    await producer.write(f"{number} ")
            return await asyncio.wait_for(reader, LONG)

        self.assertEqual(async_to_sync(talk)(), [(number, f"{number} ") for number in range(50)])
        self.assertEqual(self.answer().data["content"][:4], "0 1 ")

    def test_asynchronous_producer_is_interrupted_by_the_end_that_was_asked_for(self) -> None:
        async def talk() -> None:
            await self.streams.acreate("chat", "s", format="text")
            async with self.streams.produce("s") as producer:
                await producer.write("Because ")
                await self.streams.acancel("s")
                await asyncio.sleep(LONG)

        async_to_sync(talk)()
        self.assertEqual(self.status(), "cancelled")
        self.assertEqual(self.answer().data["content"], "Because ")

    def test_cancelled_task_cancels_the_stream(self) -> None:
        async def talk() -> None:
            async with self.streams.produce("s") as producer:
                await producer.write("Because ")
                await asyncio.sleep(LONG)

        async def start_and_cancel() -> None:
            await self.streams.acreate("chat", "s", format="text")
            task = asyncio.create_task(talk())
            while (await self.streams.aread("s")) == []:
                await asyncio.sleep(0.01)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        async_to_sync(start_and_cancel)()
        self.assertEqual(self.status(), "cancelled")

    # Readers

    def test_reader_gets_what_is_stored_and_what_comes(self) -> None:
        self.running()
        self.streams.append("s", ["a", "b"])
        reader = self.in_thread(self.read_all)
        # Only then the reader waits: what is appended from here on reaches it by a look, not by its first read.
        self.wait_until(lambda: poller().count() == 1)
        for chunk in "cde":
            self.streams.append("s", [chunk])
        self.streams.finish("s")
        self.assertEqual(reader.outcome(), list(enumerate("abcde")))

    def test_reader_joins_at_every_point(self) -> None:
        self.running()
        readers = []
        for number in range(8):
            readers += [self.in_thread(partial(self.read_all, after=after)) for after in range(-1, number)]
            self.streams.append("s", [number])
        self.streams.finish("s")
        expected = [after for number in range(8) for after in range(-1, number)]
        for reader, after in zip(readers, expected, strict=True):
            self.assertEqual(reader.outcome(), [(number, number) for number in range(after + 1, 8)])
        self.assertEqual([self.read_all(after=after) for after in (6, 7)], [[(7, 7)], []])

    def test_reader_of_many_chunks_gets_each_once(self) -> None:
        self.running()
        # More than a look reads at once, so that a reader goes through several pages.
        for first in range(0, 1500, 500):
            self.streams.append("s", list(range(first, first + 500)))
        self.streams.finish("s")
        self.assertEqual(self.read_all(), [(number, number) for number in range(1500)])
        self.assertEqual(self.read_all(after=700), [(number, number) for number in range(701, 1500)])

    def test_reader_of_large_chunks_gets_a_megabyte_or_so_at_once(self) -> None:
        self.running()
        chunks = [f"{number}" * 400_000 for number in range(7)]
        self.streams.append("s", chunks)
        for is_finished in (False, True):
            if is_finished:
                self.streams.finish("s")
            batches: list[list[Any]] = []
            for _, batch in self.streams.follow("s").batches():
                batches += [[chunk.data for chunk in batch]]
                if sum(map(len, batches)) == len(chunks):
                    break
            # All in one batch would keep other readers waiting while they become events.
            self.assertLessEqual(max(len("".join(batch)) for batch in batches), 2_000_000)
            self.assertEqual([data for batch in batches for data in batch], chunks)

    def test_stream_that_ends_before_its_reader_looks_is_read_whole(self) -> None:
        self.running()
        reader = self.streams.follow("s")
        reader.open()
        self.streams.append("s", list(range(600)))
        self.streams.finish("s")
        self.assertEqual([chunk.data for chunk in reader], list(range(600)))

    def test_reader_ends_with_an_error_when_the_stream_goes(self) -> None:
        for name, go in (("s", self.streams.delete), ("t", lambda _: self.store.delete_chat("chat"))):
            self.running(name)
            reader = self.in_thread(partial(self.read_all, name))
            self.wait_until(lambda: poller().count() == 1)
            go(name)
            self.assertIsInstance(reader.outcome(), ObjectDoesNotExist)

    def test_reader_that_leaves_is_forgotten(self) -> None:
        self.running()
        self.streams.append("s", ["a"])
        for _ in self.streams.follow("s"):
            break
        self.wait_until(lambda: poller().count() == 0)

    def test_many_readers_wait_in_one_thread(self) -> None:
        self.running()

        async def read() -> list[Any]:
            # Those of others in this process are none of the readers'.
            before = threading.active_count()
            readers = [asyncio.create_task(self.aread_all()) for _ in range(50)]
            while poller().count() < 50:
                await asyncio.sleep(0.01)
            waiting = threading.active_count()
            await self.streams.aappend("s", ["a", "b"])
            await self.streams.afinish("s")
            results = await asyncio.wait_for(asyncio.gather(*readers), LONG)
            self.assertLess(waiting - before, 20)
            return results

        self.assertEqual(async_to_sync(read)(), [[(0, "a"), (1, "b")]] * 50)

    # Dead producers

    def test_stream_of_a_dead_producer_fails_and_keeps_what_was_said(self) -> None:
        self.streams = self.make_streams(LEASE=self.short_lease)
        self.running()
        self.streams.append("s", ["Because "])
        self.assertEqual(self.streams.reap().ended, 0)
        time.sleep(self.short_lease * 1.5)
        self.assertEqual(self.streams.reap().ended, 1)
        record = self.streams.require("s")
        self.assertEqual((record.status, bool(record.error)), ("failed", True))
        self.assertEqual(self.answer().data["metadata"]["status"], "failed")

    def test_reader_ends_the_stream_of_a_dead_producer(self) -> None:
        self.streams = self.make_streams(LEASE=self.short_lease)
        self.running()
        self.streams.append("s", ["a"])
        self.assertEqual(self.read_all(), [(0, "a")])
        self.assertEqual(self.status(), "failed")

    def test_cancelled_stream_of_a_dead_producer_is_cancelled(self) -> None:
        self.streams = self.make_streams(LEASE=self.short_lease)
        self.running()
        self.streams.cancel("s")
        time.sleep(self.short_lease * 1.5)
        self.streams.reap()
        self.assertEqual(self.status(), "cancelled")

    def test_old_chunks_are_removed_and_the_message_stays(self) -> None:
        self.streams = self.make_streams(CHUNK_TTL=0.2)
        self.running()
        self.streams.append("s", ["Because"])
        self.streams.finish("s")
        time.sleep(0.4)
        self.streams.reap()
        self.assertEqual(self.streams.read("s"), [])
        self.assertEqual(self.read_all(), [])
        self.assertEqual(self.answer().data, {"content": "Because"})

    # Helpers

    async def aread_all(self) -> list[Any]:
        """Return number and data of each chunk, followed to the end."""
        return [(chunk.seq, chunk.data) async for chunk in self.streams.follow("s")]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return once the condition is true; fail after a while."""
        deadline = time.monotonic() + LONG
        while not condition():
            if time.monotonic() > deadline:
                self.fail("It did not happen.")
            time.sleep(0.01)


class Thread(threading.Thread):
    """A function in a thread of its own."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._outcome: Any = None
        self.start()

    def run(self) -> None:
        try:
            self._outcome = self._function()
        except Exception as error:
            self._outcome = error
        finally:
            connections.close_all()

    def outcome(self) -> Any:
        """Return what the function returned or raised."""
        self.join(LONG)
        return self._outcome
