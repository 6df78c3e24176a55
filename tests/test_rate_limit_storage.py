"""Counts in a Redis: shared, and no condition for a login."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pymysql
import pytest
import uvloop

from service import tallies
from service.localdb import LocalDatabase, free_port
from service.ratelimits import Limit
from service.tallies import RETRY_INTERVAL, TIMEOUT, Tallies
from tests.conftest import PASSWORD, StartClient, add_user
from tests.redisserver import Redis
from tests.server import Server
from tests.test_metrics import total, until
from tests.test_rate_limits import LOOPBACK, at_once, limits, log_in, statuses

LOST, FOUND = "rate_limit_storage_unavailable", "rate_limit_storage_available"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a machine that is busy otherwise; whoever asks what a slow Redis does takes it back."""
    monkeypatch.setattr(tallies, "TIMEOUT", 10)


@pytest.fixture
def name(sql: pymysql.cursors.Cursor, new_name: Callable[[], str]) -> str:
    """Of a user whose hash costs as little as those that the services here make."""
    return add_user(sql, new_name())


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of one test's own."""
    with Redis(tmp_path) as running:
        yield running


async def test_processes_that_share_a_redis_count_together(
    redis: Redis, mariadb: LocalDatabase, start: StartClient, name: str, tmp_path: Path
) -> None:
    """REQUIREMENTS 43: and a success at one of them forgives at all."""
    shared = limits(name="6/900", rate_limit_storage=redis.url)
    other = Server(mariadb.url, tmp_path, RATE_LIMIT_LOGIN_NAME="6/15m", RATE_LIMIT_STORAGE=redis.url)
    async with start(limits=shared) as one:
        with other:
            async with other.client() as two:
                assert [*await statuses(one, 3, name), *await statuses(two, 2, name)] == [401] * 5
                assert await statuses(two, 1, name, PASSWORD) == [200]
                assert [*await statuses(one, 3, name), *await statuses(two, 3, name)] == [401] * 6
                assert [*await statuses(one, 1, name), *await statuses(two, 1, name)] == [429, 429]
    async with start(limits=shared) as restarted:
        assert await statuses(restarted, 1, name, PASSWORD) == [429]


async def test_guesses_at_once_are_compared_no_more_often_than_the_limit_a_process(
    redis: Redis, start: StartClient, name: str
) -> None:
    """REQUIREMENTS 43: what two processes admit at the same time, none of them knows of yet."""
    shared = limits(name="10/900", rate_limit_storage=redis.url)
    async with start(limits=shared) as one, start(limits=shared) as two:
        at_one = await at_once(*(log_in(one, name) for _ in range(50)))
        assert [answer.status_code for answer in at_one].count(401) == 10
        assert await statuses(two, 1, name) == [429]
        redis.ask("flushall")
        at_both = await at_once(*(log_in(each, name) for _ in range(25) for each in (one, two)))
        assert 10 <= [answer.status_code for answer in at_both].count(401) <= 20
        assert {answer.status_code for answer in at_both} == {401, 429}


async def test_an_attempt_is_admitted_when_retry_after_says(redis: Redis, start: StartClient, name: str) -> None:
    """REQUIREMENTS 44: Redis says it in whole seconds."""
    async with start(limits=limits(name="1/2", rate_limit_storage=redis.url)) as client:
        assert await statuses(client, 1, name) == [401]
        refused = await log_in(client, name)
        refused_at = time.monotonic()
        assert refused.status_code == 429
        seconds = int(refused.headers["Retry-After"])
        assert 1 <= seconds <= 3
        while (answer := await log_in(client, name)).status_code == 429:
            assert time.monotonic() < refused_at + seconds + 1, "it should be admitted by now"
            await asyncio.sleep(0.05)
        assert answer.status_code == 401


async def test_the_storage_has_neither_names_nor_addresses(redis: Redis, start: StartClient, name: str) -> None:
    """REQUIREMENTS 43."""
    counting = limits(rate_limit_storage=redis.url)
    async with start(limits=counting, trusted_proxies=LOOPBACK) as client:
        assert await statuses(client, 1, name, "a wrong guess", "203.0.113.7") == [401]
    keys = redis.ask("keys", "*")
    assert len(keys.splitlines()) == 2
    assert name not in keys
    assert "203.0.113" not in keys
    assert all(int(redis.ask("ttl", key)) > 0 for key in keys.splitlines())


async def test_a_redis_that_is_killed_lets_everybody_log_in_until_it_is_back(
    redis: Redis, start: StartClient, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """REQUIREMENTS 43, 66: the limit fails open, and nothing else does."""
    caplog.set_level("INFO")
    port, down = free_port(), "mstack_auth_rate_limit_storage_down"
    async with start(limits=limits(name="3/900", rate_limit_storage=redis.url), metrics_port=port) as client:
        assert await statuses(client, 4, name) == [401, 401, 401, 429]
        assert await until(port, lambda found: (down, frozenset()) in found and total(found, down) == 0)
        redis.kill()
        assert await statuses(client, 5, name) == [401] * 5
        assert await statuses(client, 3, name, PASSWORD) == [200] * 3
        assert (caplog.messages.count(LOST), caplog.messages.count(FOUND)) == (1, 0)
        assert await until(port, lambda found: total(found, down) == 1), "for as long as it lasts"
        redis.start()
        async with asyncio.timeout(20):
            while (await log_in(client, name)).status_code != 429:
                await asyncio.sleep(0.05)
        assert (caplog.messages.count(LOST), caplog.messages.count(FOUND)) == (1, 1)
        assert await until(port, lambda found: total(found, down) == 0)
        assert await statuses(client, 1, name, PASSWORD) == [429]


def test_an_event_loop_that_is_late_does_not_take_redis_for_silent(
    redis: Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQUIREMENTS 43: else whoever keeps it busy could guess without a limit. uvloop lets timers go first."""
    monkeypatch.setattr(tallies, "TIMEOUT", 0.02)
    limit = Limit(3, 900)

    async def be_busy() -> None:
        while True:
            time.sleep(2 * tallies.TIMEOUT)  # as what it does at once when many come
            await asyncio.sleep(0)

    async def count() -> list[int]:
        counts = Tallies(redis.url)
        busy = asyncio.create_task(be_busy())
        left = []
        for _ in range(3):
            await counts.add(limit, "ada")
            left.append((await counts.read(limit, "ada")).left)
        busy.cancel()
        await counts.close()
        return left

    assert uvloop.run(count()) == [2, 1, 0]
    assert LOST not in caplog.messages


async def test_a_redis_that_refuses_every_connection_is_asked_once_in_a_while(
    redis: Redis, start: StartClient, name: str
) -> None:
    """As where its URL names a database that there is not: no login would have to wait for its refusal."""
    made = "total_connections_received:"

    def connections() -> int:
        [line] = [line for line in redis.ask("info", "stats").splitlines() if line.startswith(made)]
        return int(line.removeprefix(made))

    before, began = connections(), time.monotonic()
    async with start(limits=limits(rate_limit_storage=f"redis://127.0.0.1:{redis.port}/99")) as client:
        assert await statuses(client, 40, name, PASSWORD) == [200] * 40
    took = time.monotonic() - began
    assert 2 <= connections() - before <= 4 + 2 * took / RETRY_INTERVAL, "the two of asking among them"


async def test_connections_that_redis_closed_as_idle_are_not_noticed(
    redis: Redis, start: StartClient, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Many a Redis is told to; what is counted then counts."""
    async with start(limits=limits(name="2/900", rate_limit_storage=redis.url)) as client:
        assert await statuses(client, 1, name) == [401]
        redis.ask("config", "set", "timeout", "1")
        async with asyncio.timeout(20):
            while redis.ask("client", "list").count("\n"):  # this one's own is a line without an end
                await asyncio.sleep(0.1)
        assert await statuses(client, 2, name) == [401, 429]
    assert LOST not in caplog.messages


async def test_a_redis_that_answers_slowly_keeps_nobody_waiting_for_long(
    redis: Redis, start: StartClient, name: str, new_name: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who does not get to ask within a while is refused: a guess that was not counted would be one too many."""
    monkeypatch.setattr(tallies, "LONGEST_WAIT", 0.2)
    monkeypatch.setattr(tallies, "CONNECTIONS", 1)
    async with start(limits=limits(name="1000/900", rate_limit_storage=redis.url)) as client:
        assert await statuses(client, 1, name) == [401]
        redis.stop()
        first = asyncio.create_task(log_in(client, name))
        await asyncio.sleep(0.5)  # until it asks; it would wait for TIMEOUT
        refused = await log_in(client, new_name())
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        redis.go_on()
        assert (await first).status_code == 401
        assert await statuses(client, 1, name) == [401]


async def test_a_redis_that_hangs_slows_hardly_anybody(
    redis: Redis,
    start: StartClient,
    name: str,
    new_name: Callable[[], str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """REQUIREMENTS 66: a login asks for it three times, and one alone a second waits for the answer."""
    monkeypatch.setattr(tallies, "TIMEOUT", TIMEOUT)
    caplog.set_level("INFO")
    count, nobody = 40, new_name()  # whose hash is the cheapest
    async with start(limits=limits(name="30/900", rate_limit_storage=redis.url)) as client:
        assert await statuses(client, 1, nobody) == [401]
        redis.stop()
        began = time.monotonic()
        assert await statuses(client, count, nobody) == [401] * count
        answers = await at_once(*(log_in(client, name, PASSWORD) for _ in range(10)))
        took = time.monotonic() - began
        assert {answer.status_code for answer in answers} == {200}
        assert took < count * TIMEOUT, "each login has waited for it"
        assert caplog.messages.count(LOST) == 1
        redis.go_on()
        async with asyncio.timeout(20):
            while FOUND not in caplog.messages:
                await log_in(client, name)
                await asyncio.sleep(RETRY_INTERVAL / 10)
        # An answer that comes late belongs to no later question.
        redis.ask("flushall")
        assert await statuses(client, 31, nobody) == [401] * 30 + [429]


async def test_a_service_starts_without_its_redis(
    redis: Redis, mariadb: LocalDatabase, name: str, tmp_path: Path
) -> None:
    redis.kill()
    settings = {"RATE_LIMIT_STORAGE": redis.url.replace("//", "//:a-password@"), "RATE_LIMIT_LOGIN_NAME": "1/15m"}
    with Server(mariadb.url, tmp_path, **settings) as server:
        async with server.client() as client:
            assert await statuses(client, 3, name) == [401] * 3
        await server.logs(LOST)
        log = server.log.read_text()
    assert log.count(LOST) == 1
    assert "a-password" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize("refusal", ["config set requirepass a-password", "config set maxmemory 1"])
async def test_a_redis_that_refuses_us_is_no_condition_either(
    redis: Redis, start: StartClient, name: str, caplog: pytest.LogCaptureFixture, refusal: str
) -> None:
    """REQUIREMENTS 66."""
    redis.ask(*refusal.split())
    async with start(limits=limits(name="1/900", rate_limit_storage=redis.url)) as client:
        assert await statuses(client, 2, name) == [401] * 2
        assert await statuses(client, 1, name, PASSWORD) == [200]
    assert LOST in caplog.messages


@pytest.mark.parametrize("refusal", ["config set maxmemory 1", "replicaof 127.0.0.1 1"])
async def test_a_redis_that_counts_no_more_is_told_once_and_what_it_counted_holds(
    redis: Redis,
    start: StartClient,
    name: str,
    new_name: Callable[[], str],
    caplog: pytest.LogCaptureFixture,
    refusal: str,
) -> None:
    """REQUIREMENTS 43, 66: full, or read-only after a failover, it still answers."""
    caplog.set_level("INFO")
    locked = new_name()
    async with start(limits=limits(name="2/900", rate_limit_storage=redis.url)) as client:
        assert await statuses(client, 3, locked) == [401, 401, 429]
        redis.ask(*refusal.split())
        for _ in range(3):
            assert await statuses(client, 1, name) == [401]
            assert await statuses(client, 10, locked) == [429] * 10
            await log_in(client, name, PASSWORD)
        assert (caplog.messages.count(LOST), caplog.messages.count(FOUND)) == (1, 0)
        redis.ask("config", "set", "maxmemory", "0")
        redis.ask("replicaof", "no", "one")
        async with asyncio.timeout(20):
            while FOUND not in caplog.messages:
                await log_in(client, new_name())
    assert (caplog.messages.count(LOST), caplog.messages.count(FOUND)) == (1, 1)
