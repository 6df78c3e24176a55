import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio.to_thread
import httpx
import pytest
from pymysql.cursors import Cursor

from service import threads
from service.errors import Overloaded
from service.localdb import LocalDatabase, free_port
from service.passwords import Passwords
from service.settings import Settings
from tests import asgi
from tests.conftest import PASSWORD, StartClient
from tests.server import Server, claims_of
from tests.test_database_faults import ask_as_root


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


async def test_of_30_signups_of_one_name_at_once_one_succeeds(
    start: StartClient, new_name: Callable[[], str], sql: Cursor
) -> None:
    """REQUIREMENTS 50."""
    fresh = new_name()
    spellings = [fresh, fresh.upper(), fresh.title()]
    async with start() as client:
        requests = [
            client.post("/auth/signup", json={"username": spellings[i % 3], "password": PASSWORD}) for i in range(30)
        ]
        answers = await asyncio.gather(*requests)
    assert statuses(answers) == {200: 1, 409: 29}
    sql.execute("select count(*) from users where username_key = %s", fresh)
    assert sql.fetchone() == (1,)


async def test_20_logins_in_one_second_are_20_sessions_each_revocable_alone(
    start: StartClient, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 22, 26, 28: the clock stands still."""
    credentials = {"username": new_name(), "password": PASSWORD}
    moment = time.time()
    async with start(clock=lambda: moment) as client:
        await client.post("/auth/signup", json=credentials)
        answers = await asyncio.gather(*(client.post("/auth/login", json=credentials) for _ in range(20)))
        pairs = [answer.json() for answer in answers]
        assert len({pair["token"] for pair in pairs}) == 20
        assert len({claims_of(pair["refreshToken"])["sid"] for pair in pairs}) == 20
        for ended, pair in enumerate(pairs):
            token = {"refreshToken": pair["refreshToken"]}
            assert (await client.post("/auth/logout", json=token)).status_code == 200
            assert (await client.post("/auth/refresh", json=token)).status_code == 401
            for other in pairs[ended + 1 :]:
                answer = await client.post("/auth/refresh", json={"refreshToken": other["refreshToken"]})
                assert answer.status_code == 200


async def test_20_refreshes_of_one_token_at_once_over_two_processes_agree(
    client: httpx.AsyncClient, tokens: dict[str, str], mariadb: LocalDatabase, tmp_path: Path, sql: Cursor
) -> None:
    """REQUIREMENTS 30: whoever wins the swap, all get the same successor; one row; nobody is logged out."""
    with Server(mariadb.url, tmp_path) as second:
        async with second.client() as other:
            token = tokens["refreshToken"]
            for generation in range(1, 11):
                clients = [client, other] * 10
                answers = await asyncio.gather(
                    *(each.post("/auth/refresh", json={"refreshToken": token}) for each in clients)
                )
                assert statuses(answers) == {200: 20}
                successors = {answer.json()["refreshToken"] for answer in answers}
                assert len(successors) == 1
                token = successors.pop()
                assert claims_of(token)["gen"] == generation
                session = claims_of(token)["sid"]
                sql.execute("select generation from refresh_tokens where id = %s", session)
                assert sql.fetchall() == ((generation,),)
            # REQUIREMENTS 26: a logout at one process holds at the other at once.
            await client.post("/auth/logout", json={"refreshToken": token})
            assert (await other.post("/auth/refresh", json={"refreshToken": token})).status_code == 401


async def test_a_full_hash_queue_refuses_at_once_and_the_rest_is_served(
    start: StartClient, new_user: Callable[[], str]
) -> None:
    """REQUIREMENTS 46: one thread and two places to wait; a refusal comes before the first hash is done."""
    finished: list[int] = []

    async with start(hash_threads=1, hash_queue=2, bcrypt_rounds=12) as client:

        async def login() -> httpx.Response:
            answer = await client.post("/auth/login", json={"username": new_user(), "password": PASSWORD})
            finished.append(answer.status_code)
            return answer

        answers = await asyncio.gather(*(login() for _ in range(10)))
        assert statuses(answers) == {200: 3, 503: 7}
        assert finished == [503] * 7 + [200] * 3
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert 1 <= int(refused.headers["Retry-After"]) <= 60  # as long as hashes take on this machine
        assert refused.json() == {"error": "The service is busy; try again.", "code": "overloaded"}
        assert (await login()).status_code == 200


async def test_who_is_refused_for_a_full_hash_queue_hears_when_it_will_have_been_served() -> None:
    """REQUIREMENTS 46: twenty hashes of cost 12 on one thread take more than a second."""
    passwords = Passwords(rounds=12, threads=1, queue=19)
    await passwords.hash(PASSWORD)
    waiting = [asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(20)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await passwords.hash(PASSWORD)
    assert 1 < refused.value.retry_after <= threads.LONGEST_RETRY
    passwords.close()
    await asyncio.wait(waiting)


async def test_a_login_that_finds_the_hash_queue_full_asks_the_database_nothing(
    start: StartClient, settings: Settings, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 46: the database is away, which only the second login notices."""
    credentials = {"username": new_name(), "password": PASSWORD}
    away = replace(settings.database, port=free_port())
    async with start(database=away, hash_threads=1, hash_queue=0, bcrypt_rounds=10) as client:
        _, login = await asyncio.gather(
            client.post("/auth/signup", json=credentials), client.post("/auth/login", json=credentials)
        )
        assert (login.status_code, login.json()["code"]) == (503, "overloaded")
        login = await client.post("/auth/login", json=credentials)
        assert (login.status_code, login.json()["code"]) == (503, "database_unavailable")


@pytest.mark.parametrize("act", ["login", "password", "account"])
async def test_no_connection_is_held_while_a_password_is_compared(
    settings: Settings, new_name: Callable[[], str], act: str
) -> None:
    """DESIGN §5: else a login storm would hold all of them."""
    credentials = {"username": new_name(), "password": PASSWORD}
    async with asgi.process(replace(settings, bcrypt_rounds=12), time.time) as process:
        auth = process.parts["auth"]
        await process.post("/auth/signup", credentials)
        token = (await process.post("/auth/login", credentials)).json()["token"]
        change = {"currentPassword": PASSWORD, "newPassword": PASSWORD}
        method, body = {
            "login": ("POST", credentials),
            "password": ("PUT", change),
            "account": ("DELETE", {"password": PASSWORD}),
        }[act]
        task = asyncio.create_task(process.post(f"/auth/{act}", body, token=token, method=method))
        while not sum(auth.passwords.load):
            assert not task.done(), "no password was compared"
            await asyncio.sleep(0)
        assert auth.database.in_use == 0
        assert (await task).status == 200


async def test_a_client_that_leaves_gives_its_place_back_when_its_hash_is_done() -> None:
    passwords = Passwords(rounds=10, threads=1, queue=1)
    try:
        running, waiting = (asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(2))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await passwords.hash(PASSWORD)
        running.cancel()
        waiting.cancel()
        await asyncio.wait({running, waiting})
        with pytest.raises(Overloaded):  # the one that runs can't be stopped, and still counts; the other is gone
            await asyncio.gather(passwords.hash(PASSWORD), passwords.hash(PASSWORD))
        while True:
            try:
                await passwords.hash(PASSWORD)
                break
            except Overloaded:
                await asyncio.sleep(0.01)
    finally:
        passwords.close()


async def test_hashing_goes_on_where_priorities_may_not_be_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(step: int) -> int:
        raise PermissionError(step)

    monkeypatch.setattr(os, "nice", refuse)
    passwords = Passwords(rounds=4, threads=1, queue=0)
    assert (await passwords.verify(PASSWORD, await passwords.hash(PASSWORD))).matches
    passwords.close()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads have a priority of their own only on Linux")
async def test_hashing_threads_have_lower_priority_than_the_rest(tokens: dict[str, str], server: Server) -> None:
    """A login storm must not stand in the way of verify."""
    threads = Path(f"/proc/{server.process.pid}/task")
    nice = {int(thread.name): os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in threads.iterdir()}
    assert nice[server.process.pid] == os.getpriority(os.PRIO_PROCESS, 0)
    assert min(nice[server.process.pid] + 10, 19) in nice.values()


async def test_a_full_pool_refuses_within_the_deadline_and_verify_goes_on(
    start: StartClient, new_name: Callable[[], str], sql: Cursor
) -> None:
    """REQUIREMENTS 66: the only connection waits for a row that somebody else has locked."""
    credentials = {"username": new_name(), "password": PASSWORD}
    async with start(pool_size=1, database_timeout=0.5) as client:
        await client.post("/auth/signup", json=credentials)
        pair = (await client.post("/auth/login", json=credentials)).json()
        token = {"refreshToken": pair["refreshToken"]}
        sql.execute("begin")
        sql.execute("select 1 from users where id = %s for update", claims_of(pair["token"])["sub"])
        started = time.monotonic()
        storm = asyncio.gather(*(client.post("/auth/login", json=credentials) for _ in range(20)))
        await asyncio.sleep(0)
        verified = await client.get("/auth/verify", headers={"Authorization": f"Bearer {pair['token']}"})
        assert verified.status_code == 200
        assert not storm.done()
        answers = await storm
        assert statuses(answers) == {503: 20}
        assert all(answer.headers["Retry-After"] == "1" for answer in answers)
        assert time.monotonic() - started < 5
        sql.execute("rollback")
        assert (await client.post("/auth/refresh", json=token)).status_code == 200
        assert (await client.post("/auth/login", json=credentials)).status_code == 200


async def test_a_locked_session_is_refused_within_the_deadline_and_the_others_refresh(
    start: StartClient, new_name: Callable[[], str], sql: Cursor
) -> None:
    """REQUIREMENTS 66: sessions that are refreshed together do not wait for each other for ever."""
    credentials = {"username": new_name(), "password": PASSWORD}
    async with start(database_timeout=2) as client:
        await client.post("/auth/signup", json=credentials)
        locked, free = [(await client.post("/auth/login", json=credentials)).json() for _ in range(2)]

        async def refresh(pair: dict[str, str]) -> httpx.Response:
            return await client.post("/auth/refresh", json={"refreshToken": pair["refreshToken"]})

        sql.execute("begin")
        sql.execute("select 1 from refresh_tokens where id = %s for update", claims_of(locked["token"])["sid"])
        started = time.monotonic()
        stuck = asyncio.gather(*(refresh(locked) for _ in range(10)))
        await asyncio.sleep(0.1)
        assert (await refresh(free)).status_code == 200
        assert not stuck.done()
        assert statuses(await stuck) == {503: 10}
        assert time.monotonic() - started < 8
        sql.execute("rollback")
        assert (await refresh(locked)).status_code == 200


async def test_all_sessions_end_while_one_of_them_is_refreshed(
    start: StartClient, new_name: Callable[[], str], sql: Cursor, mariadb: LocalDatabase
) -> None:
    """Also where a transaction may not lock what was changed after its first look, as from MariaDB 11.6 on."""
    credentials = {"username": new_name(), "password": PASSWORD}
    ask_as_root(mariadb, "set global innodb_snapshot_isolation = on")
    try:
        async with start() as client:
            await client.post("/auth/signup", json=credentials)
            pair, other = [(await client.post("/auth/login", json=credentials)).json() for _ in range(2)]
            sql.execute("begin")
            sql.execute("update refresh_tokens set generation = 1 where id = %s", claims_of(other["token"])["sid"])
            headers = {"Authorization": f"Bearer {pair['token']}"}
            ending = asyncio.create_task(client.post("/auth/logoutall", headers=headers))
            await asyncio.sleep(0.3)
            assert not ending.done()
            sql.execute("commit")
            answer = await ending
            assert (answer.status_code, answer.json().get("tokensDeleted")) == (200, 2), answer.text
    finally:
        ask_as_root(mariadb, "set global innodb_snapshot_isolation = default")


async def test_a_refusal_waits_for_no_thread(start: StartClient) -> None:
    """Starlette has 40 of them for all handlers of errors that are no coroutines."""
    threads = anyio.to_thread.current_default_thread_limiter()
    busy = [object() for _ in range(int(threads.total_tokens))]
    async with start() as client:
        for each in busy:
            threads.acquire_on_behalf_of_nowait(each)
        asked = [client.post("/auth/refresh", json=body) for body in ({}, {"refreshToken": "nonsense"})]
        tasks = [asyncio.create_task(request) for request in (*asked, client.get("/nowhere"))]
        _, waiting = await asyncio.wait(tasks, timeout=10)
        for each in busy:
            threads.release_on_behalf_of(each)
        answers = await asyncio.gather(*tasks)
    assert not waiting
    assert [answer.status_code for answer in answers] == [400, 401, 404]
