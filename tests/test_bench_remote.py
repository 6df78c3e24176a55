"""What the bench asks of a service over HTTP, ours and another that has the same contract in its own way."""

import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.address import AddressRefusedError, permitted
from bench.loads import in_turn
from bench.plan import Figure
from bench.remote import USERS, Remote, ServiceRefusedError
from bench.table import summarise, text
from tests.server import Server


class Other(BaseHTTPRequestHandler):
    """A service that answers 201 to a signup, and never rotates nor repeats a refresh token."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms
    numbers = itertools.count()
    limited = ""  # the endpoint that answers 429

    def do_POST(self) -> None:  # as http.server calls it
        endpoint = self.path.removeprefix("/auth/")
        self.rfile.read(int(self.headers["Content-Length"]))
        answers = {
            "signup": (201, {}),
            "login": (200, {"token": f"access-{next(self.numbers)}", "refreshToken": "refresh"}),
            "refresh": (200, {"token": f"access-{next(self.numbers)}"}),
        }
        status, answer = (429, {}) if endpoint == self.limited else answers[endpoint]
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing, in a test."""


@pytest.fixture
def other() -> Iterator[str]:
    """The address of such a service."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


def test_a_service_that_never_rotates_has_tokens_for_every_load(other: str, tmp_path: Path) -> None:
    with Remote(other, tmp_path / "theirs") as theirs:
        assert not theirs.rotates
        tokens = theirs.access_tokens(3 * USERS).read_text().split()
        assert len(set(tokens)) == len(tokens) == 3 * USERS
        assert set(theirs.fresh_sessions().read_text().split()) == {"refresh"}


@pytest.mark.parametrize("endpoint", ["signup", "login", "refresh"])
def test_a_service_that_limits_is_told_apart_from_one_that_is_slow(
    endpoint: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Other, "limited", endpoint)
    with (
        pytest.raises(ServiceRefusedError, match=f"limits how often /auth/{endpoint}"),
        Remote(other, tmp_path / "new"),
    ):
        pass


def test_two_services_take_turns_and_the_table_has_both(server: Server, tmp_path: Path) -> None:
    figures = [Figure("verify, one token", 1.0, "/s", limit=2.0), Figure("login, 64 clients", 1.0, "/s")]
    with (
        Remote(server.url, tmp_path / "ours", users=4) as ours,
        Remote(server.url, tmp_path / "theirs", users=4) as theirs,
    ):
        assert ours.rotates
        tokens = ours.access_tokens(3 * USERS).read_text().split()
        assert len(set(tokens)) == 3 * USERS
        seen = list(in_turn("verify", figures, ours, theirs, 1))
    assert (len(seen[0].in_turn), len(seen[0].theirs), seen[1]) == (2, 2, figures[1])
    one, login = summarise(seen)
    assert one.theirs
    assert one.over_theirs
    assert (one.failed, one.theirs_failed, login.theirs) == (0, 0, None)
    assert "ours/theirs" in text([one, login])


@pytest.mark.parametrize("url", ["http://127.0.0.1:5000", "http://127.0.0.1:5000/", "http://[::1]:80"])
def test_this_machine_may_be_loaded(url: str) -> None:
    assert permitted(url, allow_remote=False) == url.rstrip("/")


def test_another_machine_may_be_loaded_when_somebody_says_so() -> None:
    assert permitted("https://192.0.2.1", allow_remote=True) == "https://192.0.2.1:443"
    with pytest.raises(AddressRefusedError, match="not this machine"):
        permitted("https://192.0.2.1", allow_remote=False)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:5000", "ftp://127.0.0.1", "http://a@127.0.0.1", "http://127.0.0.1/auth", ""]
)
def test_what_is_not_the_address_of_a_service_is_refused(url: str) -> None:
    with pytest.raises(AddressRefusedError):
        permitted(url, allow_remote=True)
