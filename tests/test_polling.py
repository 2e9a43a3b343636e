"""The thread that looks for all readers: what it starts, and how patient it is."""

import time
from collections.abc import Hashable, Mapping, Sequence

import pytest

from context_store.polling import Source, Subscription, poller
from tests.servers import wait_until


class Noting(Source):
    """Has news for everybody, unless it is away, and notes when it is started and stopped."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failures_left = 0

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        time.sleep(0.3)
        self.calls.append("stop")

    def look(self, waiting: Mapping[Hashable, Sequence[Subscription]]) -> set[Hashable]:
        if self.failures_left:
            self.failures_left -= 1
            raise OSError("away")
        for readers in waiting.values():
            for reader in readers:
                reader.deliver(["news"])
        return set(waiting)


def test_source_of_a_reader_who_comes_as_the_last_one_goes_is_not_stopped() -> None:
    source = Noting()
    with Subscription(source, "key") as reader:
        assert reader.take(10) == ["news"]
    # It is being stopped.
    time.sleep(0.1)
    with Subscription(source, "key") as reader:
        assert reader.take(10) == ["news"]
        time.sleep(0.5)
        assert source.calls == ["start", "stop", "start"]


def test_outage_whose_readers_have_gone_does_not_count_for_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("context_store.polling.OUTAGE", 2)
    source = Noting()
    source.failures_left = 10_000
    with Subscription(source, "key") as reader:
        assert reader.take(0.2) == []
    wait_until(lambda: source.calls == ["start", "stop"], seconds=10, what="the poller's end")
    time.sleep(2)
    source.failures_left = 1
    with Subscription(source, "key") as reader:
        assert reader.take(10) == ["news"]
    wait_until(lambda: poller().count() == 0, seconds=10, what="the readers' end")


def test_end_that_comes_while_a_reader_takes_what_was_before_is_not_waited_for() -> None:
    reader = Subscription(Noting(), "key")
    clear = reader._ready.clear

    def interrupted() -> None:
        reader.deliver(["last"], is_last=True)
        clear()

    reader._ready.clear = interrupted  # type: ignore[method-assign]
    assert reader.take(0.01) == ["last"]
    started = time.monotonic()
    assert reader.take(10) is None
    assert time.monotonic() - started < 5
