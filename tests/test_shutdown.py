import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from service.localdb import LocalDatabase
from tests.conftest import PASSWORD, StartClient
from tests.operators import Operator
from tests.server import Server, TracedServer
from tests.test_health import GOOD, readiness, until
from tests.test_key_folder import hanging


@pytest.mark.parametrize("arguments", [(), ("--timeout-graceful-shutdown", "1"), ("--workers", "2")], ids=" ".join)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_during_20_logins_gives_each_client_a_whole_answer_or_a_closed_connection(
    mariadb: LocalDatabase,
    tmp_path: Path,
    new_name: Callable[[], str],
    number: signal.Signals,
    arguments: tuple[str, ...],
) -> None:
    credentials = {"username": new_name(), "password": PASSWORD}
    is_impatient = "--timeout-graceful-shutdown" in arguments
    hashing = {"HASH_THREADS": "1", "BCRYPT_ROUNDS": "12"} if is_impatient else {}  # 20 take more than its second
    with Server(mariadb.url, tmp_path, *arguments, **hashing) as server:
        async with server.client() as client:
            await client.post("/auth/signup", json=credentials)
            first_answer = asyncio.Event()
            outcomes: list[int | None] = []

            async def login() -> None:
                try:
                    answer = await client.post("/auth/login", json=credentials)
                except (httpx.TransportError, httpx.RemoteProtocolError):
                    outcomes.append(None)
                else:
                    outcomes.append(answer.status_code)
                    assert {"token", "refreshToken"} == set(answer.json()) or answer.status_code == 503
                first_answer.set()

            logins = asyncio.gather(*(login() for _ in range(20)))
            await first_answer.wait()
            started = time.monotonic()
            code = await asyncio.to_thread(server.stop, number)
            assert time.monotonic() - started < 10
            await logins
    assert code == 0
    assert len(outcomes) == 20
    assert set(outcomes) <= {200, 503, None}
    assert outcomes.count(200) == 20 or is_impatient, "with time enough all are served"
    assert (503 in outcomes) is is_impatient
    log = server.log.read_text()
    for trouble in ("Traceback", "was destroyed", "never retrieved", "Unclosed"):
        assert trouble not in log


@pytest.mark.parametrize("arguments", [(), ("--workers", "2"), ("--reload",)], ids=" ".join)
async def test_a_stop_is_announced_while_the_service_still_answers(
    mariadb: LocalDatabase, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Each request has a connection of its own, so the socket is open until the end of the delay."""
    with TracedServer(mariadb.url, tmp_path, *arguments, SHUTDOWN_DELAY="1s") as server:
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        announced = 0
        try:
            while True:
                async with server.client() as client:
                    found = await readiness(client)
                    announced += found["checks"] == GOOD | {"shutdown": "stopping"}
                    assert (await client.get("/auth/verify")).status_code == 401
                    assert (await client.get("/livez")).status_code == 200
        except httpx.TransportError:
            pass
        assert time.monotonic() - started >= 1
        assert announced > 0
        assert await asyncio.to_thread(server.process.wait, 20) == 0
    assert '"event":"stopping"' in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_is_not_delayed(mariadb: LocalDatabase, tmp_path: Path, number: signal.Signals) -> None:
    with Server(mariadb.url, tmp_path, SHUTDOWN_DELAY="1h") as server:
        server.process.send_signal(signal.SIGTERM)
        async with server.client() as client:
            await until(client, shutdown="stopping")
        assert await asyncio.to_thread(server.stop, number) == 0
    assert "Traceback" not in server.log.read_text()


async def test_a_thread_that_hangs_does_not_keep_the_process_from_ending(
    mariadb: LocalDatabase, tmp_path: Path
) -> None:
    """Such as one that reads a folder of keys on a network that is gone."""
    folder = tmp_path / "keys"
    Operator(folder).run("new")
    with Server(mariadb.url, tmp_path, JWT_KEYS=str(folder)) as server:
        async with hanging(folder / "ring.json"):
            assert await asyncio.to_thread(server.stop, signal.SIGTERM) == 0
    assert "Traceback" not in server.log.read_text()


async def test_a_service_that_is_left_with_an_error_leaves_nothing_behind(start: StartClient) -> None:
    """Connections too: a warning of one that nobody closed fails a test."""
    before = asyncio.all_tasks()
    service = start()
    client = await service.__aenter__()
    await client.get("/readyz")
    assert not await service.__aexit__(RuntimeError, RuntimeError(), None), "the error goes on"
    assert asyncio.all_tasks() == before


async def test_a_service_inside_another_program_leaves_its_signals_alone(start: StartClient) -> None:
    handler = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        async with start():
            pass
        assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
    finally:
        signal.signal(signal.SIGTERM, handler)
