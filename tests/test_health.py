"""Liveness and readiness: what is ready is sent requests."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.address import DatabaseAddress
from service.localdb import LocalDatabase
from service.settings import Settings
from tests import asgi
from tests.conftest import PASSWORD, StartClient
from tests.data import a_copy
from tests.server import Server, cursor_on, migrate

GOOD = {"database": "ok", "schema": "ok", "revocations": "ok", "shutdown": "ok"}


@pytest.fixture(scope="module")
def disturbed(new_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDatabase]:
    """A server with the schema applied, for the tests of this file to disturb; each leaves it as it was."""
    with a_copy(new_data, tmp_path_factory.mktemp("disturbed")) as database:
        yield database


async def readiness(client: httpx.AsyncClient) -> dict[str, Any]:
    """What /readyz says, in the one shape that it has."""
    answer = await client.get("/readyz")
    found: dict[str, Any] = answer.json()
    assert answer.headers["Cache-Control"] == "no-store"
    assert found["ready"] is (answer.status_code == 200)
    assert found["ready"] is (found["checks"] == GOOD)
    refusal = set() if found["ready"] else {"error", "code"}
    assert set(found) == {"ready", "checks", "revocationAgeSeconds"} | refusal
    if not found["ready"]:
        assert (answer.status_code, found["code"], answer.headers["Retry-After"]) == (503, "unavailable", "1")
    return found


async def until(client: httpx.AsyncClient, **checks: str) -> dict[str, Any]:
    """Waits until these are what is the matter, and nothing else."""
    async with asyncio.timeout(20):
        while (found := await readiness(client))["checks"] != GOOD | checks:
            await asyncio.sleep(0.02)
    return found


async def test_a_service_that_has_all_it_needs_is_ready_and_says_so_without_a_line_in_the_log(
    mariadb: LocalDatabase, tmp_path: Path
) -> None:
    """And without a token: who asks has none."""
    with Server(mariadb.url, tmp_path) as server:
        async with server.client() as client:
            assert (await readiness(client))["revocationAgeSeconds"] < 5
            answer = await client.get("/livez")
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            assert (await client.post("/readyz")).status_code == 405
    log = server.log.read_text()
    assert "/livez" not in log
    assert log.count("/readyz") == 1, "the refusal"


async def test_a_database_that_goes_takes_readiness_along_and_brings_it_back_while_the_process_lives(
    disturbed: LocalDatabase, start: StartClient
) -> None:
    """REQUIREMENTS 62: and the answer does not say where the database is."""
    address = DatabaseAddress.from_url(disturbed.url)
    async with start(database=address) as client:
        assert (await readiness(client))["ready"]
        disturbed.stop()
        found = await until(client, database="unavailable", schema="unknown")
        assert found["revocationAgeSeconds"] > 0
        assert not any(word in str(found) for word in (str(address.port), address.name, address.user, "127.0.0.1"))
        assert (await client.get("/livez")).status_code == 200
    async with start(database=address) as client:  # there was never anything to be known
        found = await until(client, database="unavailable", schema="unknown", revocations="stale")
        assert found["revocationAgeSeconds"] is None
        disturbed.start()
        assert (await until(client))["revocationAgeSeconds"] < 5


async def test_a_stalled_database_is_told_before_the_checker_gives_up(
    disturbed: LocalDatabase, start: StartClient
) -> None:
    """A lock holds the statement back, as a stalled server would; who checks waits a second at most."""
    async with start(database=DatabaseAddress.from_url(disturbed.url), database_timeout=5) as client:
        with cursor_on(disturbed.url) as cursor:
            cursor.execute("lock tables _yoyo_migration write")
            started = time.monotonic()
            await until(client, database="unavailable", schema="unknown")
            assert time.monotonic() - started < 4, "one answer from before, and the deadline"
            cursor.execute("unlock tables")
        await until(client)


async def test_a_check_that_a_stop_breaks_off_says_that_the_service_is_not_ready(settings: Settings) -> None:
    async with asgi.process(settings, time.time) as process:
        check = asyncio.create_task(process.call("GET", "/readyz"))
        await asyncio.sleep(0)  # it waits for the database now
        check.cancel()
        answer = await check
    assert answer.status == 503
    assert (answer.json()["ready"], answer.json()["checks"]["shutdown"]) == (False, "stopping")


async def test_a_migration_taken_back_makes_the_service_unready_until_it_is_there_again(
    disturbed: LocalDatabase, start: StartClient
) -> None:
    async with start(database=DatabaseAddress.from_url(disturbed.url), revocation_interval=0) as client:
        assert (await readiness(client))["revocationAgeSeconds"] is None
        migrate(disturbed.url, "rollback", "--revision", "0004.create-revocations")
        await until(client, schema="outdated")
        migrate(disturbed.url)
        await until(client)


async def test_knowledge_older_than_its_maximum_makes_the_service_unready(
    disturbed: LocalDatabase, start: StartClient
) -> None:
    """Without a maximum verify goes on, and so does readiness."""
    address = DatabaseAddress.from_url(disturbed.url)
    async with start(database=address, revocation_max_age=2) as strict, start(database=address) as patient:
        with cursor_on(disturbed.url) as cursor:
            cursor.execute("rename table revocations to elsewhere")
            try:
                found = await until(strict, revocations="stale")
                assert found["revocationAgeSeconds"] >= 2
                async with asyncio.timeout(20):
                    while (await readiness(patient))["revocationAgeSeconds"] < 2:
                        await asyncio.sleep(0.05)
                assert (await readiness(patient))["ready"]
            finally:
                cursor.execute("rename table elsewhere to revocations")
        await until(strict)


async def test_a_storm_that_holds_every_connection_leaves_the_service_ready(
    disturbed: LocalDatabase, start: StartClient
) -> None:
    address = DatabaseAddress.from_url(disturbed.url)
    async with start(database=address, pool_size=2, database_timeout=6) as client:
        with cursor_on(disturbed.url) as cursor:
            cursor.execute("lock tables users write")
            body = {"username": "ada", "password": PASSWORD}
            logins = [asyncio.create_task(client.post("/auth/login", json=body)) for _ in range(10)]
            for _ in range(3):
                await asyncio.wait(logins, timeout=0.7)
                assert not any(login.done() for login in logins)
                assert (await readiness(client))["ready"]
            cursor.execute("unlock tables")
            assert {login.status_code for login in await asyncio.gather(*logins)} == {401}


async def test_many_who_ask_at_once_cost_one_look_a_second(disturbed: LocalDatabase, start: StartClient) -> None:
    def statements() -> int:
        cursor.execute("show global status like 'Com_select'")
        return int(cursor.fetchall()[0][1])

    address = DatabaseAddress.from_url(disturbed.url)
    async with start(database=address, revocation_interval=0) as client:
        with cursor_on(disturbed.url) as cursor:
            await readiness(client)
            before, started = statements(), time.monotonic()
            for _ in range(5):
                await asyncio.gather(*(readiness(client) for _ in range(50)))
            assert statements() - before <= 2 * (1 + time.monotonic() - started), "a look is two statements"
