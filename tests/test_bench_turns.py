"""That what is compared takes turns, and that turns add up to what one long load would have met."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.plan import THEIRS
from bench.turns import Side, take_turns
from bench.wrk import Answers


class Recorder(ThreadingHTTPServer):
    """Answers each refresh token with the next one, and notes what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.seen: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Recorder

    def do_GET(self) -> None:
        self._answer(self.headers["Authorization"].removeprefix("Bearer "), b"{}")

    def do_POST(self) -> None:
        token = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["refreshToken"]
        session, _, generation = token.partition(".")
        self._answer(
            token, json.dumps({"refreshToken": f"{session}.{int(generation) + 1}"}, separators=(",", ":")).encode()
        )

    def _answer(self, token: str, body: bytes) -> None:
        self.server.seen.append(token)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_turn_goes_on_where_the_last_one_ended(recorder: Recorder, tmp_path: Path) -> None:
    """No token is sent twice while there are others: a service remembers those that it has just seen."""
    lines = [f"token-{number}" for number in range(100_000)]
    (tmp_path / "access").write_text("\n".join(lines) + "\n")
    side = Side(recorder.url, "verify", tmp_path / "access", cores=THEIRS, connections=2)
    side.warm_up()
    warming = len(recorder.seen)
    take_turns([side], 2)
    assert len(set(recorder.seen)) == len(recorder.seen)
    assert set(recorder.seen) <= set(lines[: len(recorder.seen) + 3 * 2])
    assert len(recorder.seen) - warming - 4 <= side.load.requests <= len(recorder.seen) - warming


def test_who_rotates_goes_on_with_the_tokens_that_were_answered(recorder: Recorder, tmp_path: Path) -> None:
    sessions = [f"session-{number}" for number in range(30)]
    (tmp_path / "rotate").write_text("".join(f"{session}.0\n" for session in sessions))
    side = Side(recorder.url, "rotate", tmp_path / "rotate", cores=THEIRS, connections=2)
    take_turns([side], 2)
    assert len(set(recorder.seen)) == len(recorder.seen), "each token is used once"
    kept = (tmp_path / "rotate").read_text().split()
    assert 30 - 2 * 3 <= len(kept) <= 30, "but those under way at the end of a turn, and one that wrk tries itself with"
    assert not set(kept) & set(recorder.seen)
    sent = {tuple(token.split(".")) for token in recorder.seen}
    assert all(
        (session, str(int(generation) - 1)) in sent for session, generation in (each.split(".") for each in kept)
    )
    assert side.load.refused == side.load.broken == 0


def test_each_has_its_turns_between_those_of_the_others(recorder: Recorder, tmp_path: Path) -> None:
    sides = []
    for name in ("ours", "theirs"):
        (tmp_path / name).write_text(f"{name}\n")
        sides.append(Side(recorder.url, "verify", tmp_path / name, cores=THEIRS, connections=1))
    take_turns(sides, 2)
    order = [token for token, before in zip(recorder.seen, ["", *recorder.seen], strict=False) if token != before]
    assert order == ["ours", "theirs"] * 2


def test_turns_add_up_to_what_one_load_would_have_met() -> None:
    calm = Answers(98, 1_000_000, 1, 0, Counter({1000: 98}))
    slow = Answers(2, 1_000_000, 0, 2, Counter({1000: 1, 50_000: 1}))
    load = (calm + slow).load
    assert (load.per_second, load.requests, load.refused, load.broken) == (50.0, 100, 1, 2)
    assert (load.p50, load.p99, load.worst) == (1.0, 1.0, 50.0)
    assert load.percentiles["99.9"] == 50.0


def test_a_load_that_nobody_answered_has_figures_too() -> None:
    load = Answers(0, 1_000_000, 0, 3).load
    assert (load.per_second, load.p99, load.worst, load.broken) == (0.0, 0.0, 0.0, 3)
