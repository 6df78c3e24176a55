"""That the faults are real, and that a broken promise would be seen; how long anything takes, no test says."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pymysql
import pytest

from bench.database import Administrator
from bench.faults.contention import _holds_all
from bench.faults.journal import Journal
from bench.faults.proxy import Proxy
from bench.faults.requests import Service, Session, User
from bench.faults.usage import Usage, command_of, leaks, tree, usage
from bench.faults.verdict import compare
from bench.seed import PASSWORD
from service.localdb import LocalDatabase
from tests.conftest import add_user
from tests.server import ROOT, Server, claims_of, cursor_on, untraced
from tests.test_database_faults import ask_as_root

QUICK = ("restart", "killed-worker")


def test_a_quick_run_breaks_things_and_every_promise_is_kept(tmp_path: Path) -> None:
    """REQUIREMENTS 66."""
    command = [sys.executable, "-m", "bench.faults", "--quick", "--into", str(tmp_path)]
    command += [argument for name in QUICK for argument in ("--only", name)]
    done = subprocess.run(command, cwd=ROOT, env=untraced(), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["fault"]: row for row in json.loads((tmp_path / "faults.json").read_text())["faults"]}
    assert tuple(rows) == QUICK
    for name, row in rows.items():
        assert name in done.stdout
        assert row["seen"]["200"] > 20
        assert row["verdict"]["checked"] > 4
    assert rows["restart"]["evidence"] == {"exit codes": [0]}
    assert rows["restart"]["seen"]["refused"] > 0, "while one process had gone and the next had not come"
    assert rows["killed-worker"]["evidence"] == {"killed": 1}


async def enter(service: Service, name: str) -> User:
    """Somebody who signed up and logged in, as the clients know them."""
    await service.ask("signup", name, username=name, password=PASSWORD)
    answer = await service.ask("login", name, username=name, password=PASSWORD)
    session = Session(answer.body["refreshToken"], [answer.body["token"]])
    return User(name, acknowledged=True, sessions=[session])


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.jsonl") as opened:
        yield opened


@pytest.fixture
async def service(server: Server, tmp_path: Path) -> AsyncIterator[Service]:
    with Journal(tmp_path / "checks.jsonl") as checks:
        async with Service([server.url], checks) as asked:
            yield asked


async def test_what_was_acknowledged_and_is_gone_is_lost(
    service: Service, journal: Journal, sql: pymysql.cursors.Cursor, new_name: Callable[[], str]
) -> None:
    users = [await enter(service, new_name()) for _ in range(3)]
    assert (await compare(service, users, set(), journal, "", [])).kept
    sql.execute("delete from users where username = %s", users[0].name)
    sql.execute("delete from refresh_tokens where id = %s", claims_of(users[1].sessions[0].refresh)["sid"])
    verdict = await compare(service, users, set(), journal, "", [])
    assert verdict.lost == 3  # a user with her session, and a session
    assert not verdict.kept


async def test_a_session_that_lives_after_its_logout_was_answered_is_resurrected(
    service: Service, journal: Journal, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 26."""
    users = [await enter(service, new_name()) for _ in range(2)]
    await service.ask("logout", users[0].name, refreshToken=users[0].sessions[0].refresh)
    for user in users:
        user.sessions[0].logout_sent, user.sessions[0].ended_at = True, time.monotonic()
    verdict = await compare(service, users, set(), journal, "", [])
    assert verdict.resurrected == 1
    assert not verdict.kept


async def test_a_write_that_nobody_was_told_of_is_a_phantom_and_no_broken_promise(
    service: Service, journal: Journal, new_name: Callable[[], str]
) -> None:
    user = await enter(service, new_name())
    user.phantom = True
    verdict = await compare(service, [user], {"another", claims_of(user.sessions[0].refresh)["sid"]}, journal, "", [])
    assert (verdict.phantoms, verdict.kept) == (2, True)


async def test_an_answer_that_no_fault_excuses_is_counted(service: Service, journal: Journal, tmp_path: Path) -> None:
    for status, retry_after in ((500, None), (503, None), (503, "1"), (401, None), (None, None)):
        request = journal.note_sent("refresh", "ada")
        journal.note_end(request, status=status, trouble=None, retry_after=retry_after, expected=False)
    verdict = await compare(service, [], set(), journal, "Traceback", [])
    assert (verdict.errors, verdict.wrong, verdict.tracebacks) == (2, 2, 1)
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [line["request"] for line in lines] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4], "one before, one after"


async def test_an_error_that_only_the_log_knows_of_is_counted(
    service: Service, server: Server, journal: Journal
) -> None:
    """As where its client had left."""
    await service.ask("refresh", "ada", refreshToken="x")
    log = server.log.read_text()
    assert (await compare(service, [], set(), journal, log, [])).errors == 0
    log = log.replace('"status":401', '"status":500')
    assert (await compare(service, [], set(), journal, log, [])).errors > 0


async def test_a_client_notes_what_became_of_a_request_that_has_no_answer(journal: Journal) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with Service([f"http://127.0.0.1:{closed.getsockname()[1]}"], journal) as service:
            assert (await service.ask("verify", "ada", token="x")).status is None
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server, Service([f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"], journal) as service:
        await service.ask("verify", "ada", token="x")
    assert journal.outcomes() == {"refused": 1, "broken": 1}


def test_the_administrator_takes_a_statement_as_it_stands(mariadb: LocalDatabase) -> None:
    administrator = Administrator(mariadb.socket)
    assert administrator.ask("select 'auth@127.0.0.%'") == (("auth@127.0.0.%",),)
    assert administrator.ask("select %s", 1) == ((1,),)


def test_what_does_not_come_back_is_a_leak() -> None:
    before = Usage(connections=3, served=3, files=20, memory=60_000_000, processes=1)
    assert leaks(before, before, 11) == []
    assert len(leaks(before, Usage(connections=12, served=13, files=21, memory=99_000_000, processes=1), 11)) == 4


def test_connections_to_the_database_are_told_from_other_files() -> None:
    """Of a process that has no others below it, which would open and close theirs meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        connects = f"import socket, sys; kept = socket.create_connection(('127.0.0.1', {port})); sys.stdin.read()"
        with subprocess.Popen([sys.executable, "-c", connects], stdin=subprocess.PIPE) as process:
            listener.accept()[0].close()
            found = usage([process.pid], port, served=1)
            assert process.stdin
            process.stdin.close()
    assert (found.connections, found.files, found.processes) == (1, 3, 1), "and the three standard streams"
    assert found.memory > 1_000_000


def test_a_process_that_has_ended_is_left_out() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert tree(process.pid) == []
    assert command_of(process.pid) == b""
    assert tree(os.getpid())[0] == os.getpid()


async def test_a_frozen_network_says_nothing_and_what_was_open_stays_dead() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()
        await writer.wait_closed()

    async def round_trip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"x")
        return await reader.read(100)

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as proxy:
        old = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await round_trip(*old) == b"x"
        assert proxy.freeze() == 1
        dead = asyncio.create_task(round_trip(*old))
        new = await asyncio.open_connection("127.0.0.1", proxy.port)
        late = asyncio.create_task(round_trip(*new))
        await asyncio.wait([dead, late], timeout=0.2)
        assert not late.done()
        proxy.thaw()
        assert await late == b"x"
        assert not dead.done()
        dead.cancel()
        for _, writer in (old, new):
            writer.close()
            await writer.wait_closed()


def test_who_locks_all_rows_is_told_that_it_had_to_give_way(own_mariadb: LocalDatabase) -> None:
    """To another that has written more; else one deadlock would end a soak."""
    waiting = "select count(*) from information_schema.innodb_trx where trx_state = 'LOCK WAIT'"
    with cursor_on(own_mariadb.url) as heavy, cursor_on(own_mariadb.url) as locker:
        add_user(heavy, "ada")
        heavy.execute(
            """
            insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at)
            select uuid(), id, 0, now(), now(), now() from users
            """
        )
        heavy.execute("begin")
        values = "select uuid(), now(), now() from seq_1_to_2000"
        heavy.execute(f"insert into revocations (session_id, created_at, expires_at) {values}")
        heavy.execute("select id from users for update")
        with ThreadPoolExecutor(1) as thread:
            locking = thread.submit(_holds_all, locker)
            while ask_as_root(own_mariadb, waiting) == ((0,),):
                time.sleep(0.2)  # for as long, InnoDB tells the same
            heavy.execute("select id from refresh_tokens for update")
            assert not locking.result()
        heavy.execute("rollback")
        assert _holds_all(locker)
        locker.execute("rollback")
