"""The accounts of the database that the README makes: each can do what it has to, and not more."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pymysql
import pytest

from service import background
from service.address import DatabaseAddress
from service.localdb import LocalDatabase
from service.web.routes import ROUTES
from tests.conftest import PASSWORD, StartClient
from tests.data import a_copy
from tests.server import cursor_on, migrate
from tests.test_database_faults import as_root
from tests.test_readme import blocks
from tests.test_verify import bearer

DENIED = {1044, 1142, 1227}  # to a database, a table, or what concerns the whole server


@dataclass(frozen=True)
class Accounts:
    """The DATABASE_URLs of both."""

    service: str
    migrations: str


@pytest.fixture(scope="module")
def accounts(new_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounts]:
    """A server on which an administrator did what the README says, and then applied the migrations."""
    with a_copy(new_data, tmp_path_factory.mktemp("mariadb")) as mariadb:
        yield prepare(mariadb)


def prepare(mariadb: LocalDatabase) -> Accounts:
    [sql] = [text for language, text in blocks("Running it") if language == "sql"]
    as_root(mariadb, "drop database auth", "drop user auth@127.0.0.1", "create database other")
    as_root(mariadb, *(statement for statement in sql.split(";") if statement.strip()))
    where = f"127.0.0.1:{mariadb.port}/auth"
    accounts = Accounts(f"mysql://auth:change-me@{where}", f"mysql://auth_migrations:change-me-too@{where}")
    migrate(accounts.migrations)
    return accounts


def assert_denied(url: str, statement: str) -> None:
    with pytest.raises(pymysql.OperationalError) as refusal, cursor_on(url) as cursor:
        cursor.execute(statement)
    assert refusal.value.args[0] in DENIED, refusal.value


async def test_the_service_needs_no_more_than_its_account_may(
    accounts: Accounts, start: StartClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """REQUIREMENTS 65: every endpoint, the check of the schema and the purge, on the grants of the README."""
    monkeypatch.setattr(background, "PURGE_INTERVAL", 0.01)
    asked = set()
    async with start(database=DatabaseAddress.from_url(accounts.service)) as client:

        async def call(method: str, path: str, token: str = "", body: object = None) -> httpx.Response:
            headers = bearer(token) if token else {}
            answer = await client.request(method, path, headers=headers, json=body)
            assert answer.status_code == 200, (path, answer.text)
            asked.add((method, re.sub("[^/]{36}$", "{id}", path)))
            return answer

        async def login(password: str = PASSWORD) -> dict[str, str]:
            answer = await call("POST", "/auth/login", body={"username": "ada", "password": password})
            found: dict[str, str] = answer.json()
            return found

        await call("POST", "/auth/signup", body={"username": "ada", "password": PASSWORD})
        pair = await login()
        await call("GET", "/auth/verify", pair["token"])
        await login()
        sessions = (await call("GET", "/auth/sessions", pair["token"])).json()["sessions"]
        [other] = [session["id"] for session in sessions if not session["current"]]
        await call("DELETE", f"/auth/sessions/{other}", pair["token"])
        pair = (await call("POST", "/auth/refresh", body={"refreshToken": pair["refreshToken"]})).json()
        await call("POST", "/auth/logoutall", pair["token"], {"keepCurrent": True})
        change = {"currentPassword": PASSWORD, "newPassword": "battery staple"}
        await call("PUT", "/auth/password", pair["token"], change)
        await call("POST", "/auth/logout", body={"refreshToken": pair["refreshToken"]})
        pair = await login("battery staple")
        revoked = await client.post("/auth/revoke", data={"token": pair["token"]})
        assert revoked.status_code == 200, revoked.text
        asked.add(("POST", "/auth/revoke"))
        pair = await login("battery staple")
        with cursor_on(accounts.service) as cursor:
            cursor.execute("insert into users select uuid(), 'x', 'x', 'x', utc_timestamp()")
            cursor.execute(
                "insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at)"
                " select uuid(), id, 0, utc_timestamp(), utc_timestamp() - interval 1 hour, utc_timestamp()"
                " from users where username = 'x'"
            )
            async with asyncio.timeout(20):
                while cursor.execute("select 1 from refresh_tokens where expires_at < utc_timestamp()"):
                    await asyncio.sleep(0.01)
        await call("DELETE", "/auth/account", pair["token"], {"password": "battery staple"})
    assert asked == {
        (method, route.path)
        for route in ROUTES
        for method in (route.methods or ())
        if method != "HEAD" and route.path.startswith("/auth/")
    }
    assert not [record for record in caplog.records if record.message == "database_error"]


@pytest.mark.parametrize(
    "statement",
    [
        "drop table users",
        "truncate table users",
        "alter table users add column x int",
        "create table x (id int)",
        "create index x on users (username)",
        "create view x as select 1",
        "create procedure x() select 1",
        "create trigger x before insert on users for each row set @x = 1",
        "drop database auth",
        "create database x",
        "select * from other.x",
        "select * from mysql.user",
        "create temporary table x (id int)",
        "lock tables users write",
    ],
)
def test_the_account_of_the_service_can_not_change_the_schema(accounts: Accounts, statement: str) -> None:
    """REQUIREMENTS 65."""
    assert_denied(accounts.service, statement)


@pytest.mark.parametrize(
    "statement", ["create table other.x (id int)", "select * from mysql.user", "create user x", "create database x"]
)
def test_the_account_of_the_migrations_has_no_right_elsewhere(accounts: Accounts, statement: str) -> None:
    """REQUIREMENTS 65."""
    assert_denied(accounts.migrations, statement)


def test_the_account_of_the_migrations_can_go_back_and_forth_and_the_services_can_not(accounts: Accounts) -> None:
    """REQUIREMENTS 65: with yoyo's own tables, and when there is nothing to do."""
    migrate(accounts.migrations, "rollback", "--all")
    with pytest.raises(AssertionError, match="denied"):
        migrate(accounts.service)
    migrate(accounts.migrations)
    migrate(accounts.migrations)
