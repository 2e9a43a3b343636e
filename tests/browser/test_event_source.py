"""A browser's own `EventSource`: it comes back by itself to a server that was away, and nothing is missing or twice."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from context_store.store import ContextStore
from context_store.streams import streams
from tests.rest.test_deployment import LOGIN, site  # noqa: F401 - a fixture
from tests.servers import free_port, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
LISTEN = """
window.seen = [];
window.source = new EventSource(arguments[0]);
const note = ({ type, lastEventId, data }) => window.seen.push([type, lastEventId, JSON.parse(data)]);
for (const name of ["message", "chat", "end", "resync"]) window.source.addEventListener(name, note);
"""
CLOSED = 2


class Listening:
    """A page that listens to a path of the server, which can be killed and started again at its address."""

    def __init__(self, driver: Any, site: Any) -> None:  # noqa: F811
        self.driver, self.site = driver, site
        site.port = free_port()
        self.start_server()
        self.kill_server = lambda: (site.processes[-1].kill(), site.processes[-1].wait())
        client = Client()
        client.force_login(User.objects.get(username=LOGIN[0]))
        driver.get(f"http://127.0.0.1:{site.port}/api/")
        driver.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})

    def start_server(self) -> None:
        self.site("asgi", {"CONN_MAX_AGE": 0})

    def listen(self, path: str) -> None:
        self.driver.execute_script(LISTEN, f"/api{path}")

    def until(self, condition: Callable[[list[Any]], bool]) -> list[Any]:
        """Return the events that the page has had once the condition holds for them."""
        wait_until(lambda: condition(self.seen()), seconds=60, what=f"more than {self.seen()}")
        return self.seen()

    def seen(self) -> list[Any]:
        found: list[Any] = self.driver.execute_script("return window.seen")
        return found

    def state(self) -> int:
        return int(self.driver.execute_script("return window.source.readyState"))


@pytest.fixture
def page(driver: tuple[Any, Any], site: Any) -> Iterator[Listening]:  # noqa: F811
    ContextStore().create_chat("chat", user_id=LOGIN[0], title="Tea")
    page = Listening(driver[0], site)
    yield page
    page.driver.get("about:blank")
    page.driver.delete_all_cookies()


def test_browser_follows_an_answer_through_a_restart_and_stops_at_its_end(page: Listening) -> None:
    streams["default"].create("chat", "s", format="text")
    streams["default"].claim("s")
    streams["default"].append("s", ["a", "b"])
    page.listen("/chats/chat/streams/s/events/")
    page.until(lambda seen: len(seen) == 2)
    page.kill_server()
    streams["default"].append("s", ["c"])
    page.start_server()
    page.until(lambda seen: len(seen) == 3)
    streams["default"].append("s", ["d"])
    streams["default"].finish("s")
    # It has not closed the source: it comes back once more, is told that nothing follows, and stops.
    wait_until(lambda: page.state() == CLOSED, seconds=60, what="the end")
    *chunks, end = page.seen()
    assert chunks == [["message", str(seq), said] for seq, said in enumerate("abcd")]
    assert (end[0], end[1], end[2]["status"]) == ("end", "4", "completed")


def test_browser_gets_the_changes_that_it_has_missed(page: Listening) -> None:
    page.listen("/chats/chat/events/")
    wait_until(lambda: page.state() == 1, seconds=60, what="the connection")
    page.kill_server()
    store = ContextStore()
    store.append_messages("chat", [{"id": "m", "name": "user", "data": "Why?"}])
    store.update_chat("chat", title="Coffee")
    page.start_server()
    [message, chat] = page.until(lambda seen: len(seen) >= 2)
    assert (message[0], message[2]["id"], chat[0], chat[2]["title"]) == ("message", "m", "chat", "Coffee")
    store.update_chat("chat", title="Water")
    assert page.until(lambda seen: len(seen) == 3)[-1][2]["title"] == "Water"
