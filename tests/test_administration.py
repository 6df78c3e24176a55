"""`mstack-auth users`, `sessions`, `purge` and `config`, as an operator and his scripts run them."""

import asyncio
import fcntl
import os
import pty
import shlex
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from bench.servers import environment
from service.keyfolder import KeyFolder
from service.keyrotation import KeyRotation
from service.localdb import LocalDatabase, free_port
from service.queries import migrations
from tests.conftest import PASSWORD
from tests.operators import Administrator
from tests.server import ROOT, SECRET, TOOLS, claims_of, cursor_on, migrate

NEW_PASSWORD = "battery staple horse"
NOWHERE = "mysql://auth:hidden-word@127.0.0.1:{}/auth"


@pytest.fixture
def admin(mariadb: LocalDatabase) -> Administrator:
    return Administrator(mariadb.url)


async def status(client: httpx.AsyncClient, token: str) -> int:
    return (await client.get("/auth/verify", headers={"Authorization": f"Bearer {token}"})).status_code


async def login(client: httpx.AsyncClient, name: str, password: str) -> httpx.Response:
    return await client.post("/auth/login", json={"username": name, "password": password})


async def ends_within_the_interval(client: httpx.AsyncClient, token: str) -> None:
    """The service reads what ended twice a second, as REVOCATION_INTERVAL is 1s; the rest is for a busy machine."""
    async with asyncio.timeout(5):
        while await status(client, token) != 401:
            await asyncio.sleep(0.02)


async def test_a_user_who_is_created_logs_in(
    admin: Administrator, client: httpx.AsyncClient, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 38: no JWT_SECRET is needed, and the password is no argument."""
    name, other = new_name(), new_name()
    assert admin.run("users", "create", name.upper(), stdin=f"{PASSWORD}\n") == f"{name.upper()} is registered."
    assert (await login(client, name, PASSWORD)).status_code == 200
    made = admin.json("users", "create", other, stdin=f"{PASSWORD}\r\n")
    assert made["username"] == other
    answer = await login(client, other, PASSWORD)
    assert claims_of(answer.json()["token"])["sub"] == made["id"]


@pytest.mark.parametrize(
    ("name", "password", "code", "said"),
    [
        ("{taken}", PASSWORD, 1, "This username is taken."),
        ("{taken}", "short", 1, "A password has at least 8 characters."),
        ("{taken}", "x" * 73, 1, "A password has at most 72 bytes of UTF-8, none of them NUL."),
        ("two words", PASSWORD, 1, "A username consists of letters and digits of one writing direction "),
        ("\udcff", PASSWORD, 1, "A username consists of letters and digits of one writing direction "),
        ("somebody-else", b"caf\xe9 au lait\n", 1, "the password is not UTF-8"),
        ("somebody-else", "", 2, "a line is expected on standard input"),
        ("somebody-else", "x" * 70_000, 2, "a line is expected on standard input"),
    ],
)
def test_a_user_who_can_not_be_is_refused(
    admin: Administrator, name: str, password: str | bytes, code: int, said: str, taken: str
) -> None:
    admin.run("users", "create", name.format(taken=taken), code=code, stdin=password)
    assert admin.err.startswith(f"Error: {said}")
    assert admin.err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("users create somebody <&-", 2, "Error: a line is expected on standard input\n"),
        ("users import - --format csv <&-", 2, "Error: the first line must be a header with the columns username and "),
        ("users list >&-", 0, ""),
        ("config check --json 2>&-", 2, ""),
        ("users list --limit 0 2>&-", 2, ""),
    ],
)
def test_a_stream_that_is_closed_is_nothing_to_stumble_over(
    mariadb: LocalDatabase, command: str, code: int, said: str
) -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec {shlex.quote(str(TOOLS / 'mstack-auth'))} {command}"],
        cwd=ROOT, env=environment(DATABASE_URL=mariadb.url), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr[: len(said)]) == (code, said)
    assert done.stderr.count("\n") <= 1


@pytest.fixture(scope="session")
def taken(mariadb: LocalDatabase) -> str:
    """The name of a user, folded another way."""
    Administrator(mariadb.url).run("users", "create", "taken-name", stdin=PASSWORD)
    return "Taken-NAME"


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        ([b"caf\xe9 au lait"], 1, b"the password is not UTF-8"),
        ([PASSWORD, PASSWORD], 0, b" is registered."),
        ([PASSWORD, "another one", PASSWORD, PASSWORD], 0, b"do not match"),
        (["\x03"], 130, b"Stopped."),
        (["\x04"], 130, b"Stopped."),
    ],
    ids=["no utf-8", "twice", "mistyped", "ctrl-c", "ctrl-d"],
)
def test_a_password_is_asked_for_twice_at_a_terminal_and_never_shown(
    mariadb: LocalDatabase, new_name: Callable[[], str], typed: list[str | bytes], code: int, said: bytes
) -> None:
    ours, theirs = pty.openpty()
    as_terminal = "import os, fcntl, termios, sys; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    command = [sys.executable, "-c", as_terminal + "os.execv(sys.argv[1], sys.argv[1:])"]
    process = subprocess.Popen(
        [*command, str(TOOLS / "mstack-auth"), "users", "create", new_name()],
        cwd=ROOT, env=environment(DATABASE_URL=mariadb.url), stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    for line in typed:
        prompts, deadline = shown.count(b": "), time.monotonic() + 20
        # The prompt may be there before the echo is off, and then nothing more comes to be read.
        while shown.count(b": ") == prompts or termios.tcgetattr(ours)[3] & termios.ECHO:
            assert time.monotonic() < deadline, shown
            if _readable(ours):
                shown += os.read(ours, 1000)
            else:
                time.sleep(0.01)
        text = line if isinstance(line, bytes) else line.encode()
        os.write(ours, text + (b"" if text < b" " else b"\n"))
    while process.poll() is None or _readable(ours):
        try:
            shown += os.read(ours, 1000)
        except OSError:  # nobody holds the other side any more
            break
    os.close(ours)
    assert process.wait(20) == code, shown
    assert said in shown
    assert PASSWORD.encode() not in shown
    assert b"Traceback" not in shown


def _readable(descriptor: int) -> bool:
    waiting = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0")
    return waiting != b"\0\0\0\0"


def test_users_are_listed_a_page_at_a_time(own_mariadb: LocalDatabase) -> None:
    admin = Administrator(own_mariadb.url)
    with cursor_on(own_mariadb.url) as cursor:
        cursor.execute(
            "insert into users select uuid(), concat('Жук-', n), concat('жук-', n), 'x', '2024-01-31 12:00:00'"
            " from (select lpad(seq, 4, '0') as n from seq_1_to_1003) as numbers"
        )
    seen: list[str] = []
    after = None
    while True:
        page = admin.json("users", "list", "--limit", "1000", *(["--after", after] if after else []))
        seen += [user["username"] for user in page["users"]]
        after = page["after"]
        if not after:
            break
    assert seen == [f"Жук-{number:04}" for number in range(1, 1004)]
    assert page["users"][0]["created_at"] == 1706702400
    heads, row = admin.run_apart("users", "list", "--limit", "1", PYTHONIOENCODING="latin-1").splitlines()
    assert heads.split() == ["USERNAME", "REGISTERED", "ID"]
    assert row.split()[:2] == ["\\u0416\\u0443\\u043a-0001", "2024-01-31T12:00:00Z"]
    assert admin.err == "There are more: --after '\\u0416\\u0443\\u043a-0001'\n"
    with cursor_on(own_mariadb.url) as cursor:
        cursor.execute("insert into users values (uuid(), '!`id>x`', '!`id>x`', 'x', now())")
    admin.run("users", "list", "--limit", "1")
    assert shlex.split(admin.err)[-2:] == ["--after", "!`id>x`"], "anybody may have a name that a shell would run"
    for limit in ("0", "1001", "x"):
        admin.run("users", "list", "--limit", limit, code=2)


async def test_another_password_ends_every_session_on_a_running_service(
    admin: Administrator, client: httpx.AsyncClient, name: str, tokens: dict[str, str]
) -> None:
    """REQUIREMENTS 26, 29: their access tokens too, within REVOCATION_INTERVAL."""
    await login(client, name, PASSWORD)
    assert await status(client, tokens["token"]) == 200
    shown = admin.run("users", "set-password", name, stdin=f"{NEW_PASSWORD}\n")
    assert shown == f"{name} has another password; sessions ended: 2."
    await ends_within_the_interval(client, tokens["token"])
    answer = await client.post("/auth/refresh", json={"refreshToken": tokens["refreshToken"]})
    assert answer.json()["code"] == "session_revoked"
    assert (await login(client, name, PASSWORD)).status_code == 401
    assert (await login(client, name, NEW_PASSWORD)).status_code == 200
    admin.run("users", "set-password", name, stdin="short", code=1)
    assert (await login(client, name, NEW_PASSWORD)).status_code == 200


async def test_a_user_who_is_deleted_is_logged_out_and_the_name_is_free(
    admin: Administrator, client: httpx.AsyncClient, name: str, tokens: dict[str, str]
) -> None:
    deleted = admin.json("users", "delete", name.upper())
    assert (deleted["username"], deleted["sessions_ended"]) == (name, 1)
    await ends_within_the_interval(client, tokens["token"])
    assert (await login(client, name, PASSWORD)).status_code == 401
    admin.run("users", "create", name, stdin=PASSWORD)


async def test_a_session_that_is_revoked_ends_on_a_running_service_and_no_other_does(
    admin: Administrator, client: httpx.AsyncClient, name: str, tokens: dict[str, str]
) -> None:
    """REQUIREMENTS 29."""
    headers = {b"User-Agent": b"curl \x9b2J"}
    other = await client.post("/auth/login", json={"username": name, "password": PASSWORD}, headers=headers)
    listed = admin.json("sessions", "list", name)["sessions"]
    ids = [claims_of(token)["sid"] for token in (other.json()["token"], tokens["token"])]
    assert sorted(session["id"] for session in listed) == sorted(ids)
    shown = admin.run("sessions", "list", name)
    assert shown.split()[:6] == ["ID", "BEGAN", "LAST", "USED", "ADDRESS", "CLIENT"]
    assert "curl \\u009b2J" in shown, "and not as a terminal would obey it"

    assert admin.run("sessions", "revoke", ids[1]) == "Sessions ended: 1."
    await ends_within_the_interval(client, tokens["token"])
    assert await status(client, other.json()["token"]) == 200
    admin.run("sessions", "revoke", ids[1], code=1)
    assert admin.err == f"Error: there is no session '{ids[1]}'\n"

    assert admin.json("sessions", "revoke", "--user", name) == {"sessions_ended": 1}
    await ends_within_the_interval(client, other.json()["token"])
    assert admin.json("sessions", "list", name) == {"sessions": []}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["users", "set-password", "nobody-at-all"], 1),
        (["users", "delete", "nobody-at-all"], 1),
        (["users", "delete", "\udcff"], 1),
        (["sessions", "list", "nobody-at-all"], 1),
        (["sessions", "revoke", "--user", "nobody at all"], 1),
        (["sessions", "revoke", "unknown"], 1),
        (["sessions", "revoke", "\udcff"], 1),
        (["sessions", "revoke"], 2),
        (["sessions", "revoke", "x", "--user", "y"], 2),
        (["users", "create"], 2),
        (["users", "rename"], 2),
        (["purge", "all"], 2),
    ],
)
def test_an_unknown_user_or_session_is_told_apart_from_wrong_usage(
    admin: Administrator, arguments: list[str], code: int
) -> None:
    assert admin.run(*arguments, code=code, stdin=PASSWORD) == ""
    assert "Error: " in admin.err


def test_the_purge_deletes_all_batches_and_says_how_many(own_mariadb: LocalDatabase) -> None:
    """REQUIREMENTS 31."""
    admin = Administrator(own_mariadb.url)
    admin.run("users", "create", "ada", stdin=PASSWORD)
    with cursor_on(own_mariadb.url) as cursor:
        for sign in ("-", "+"):
            cursor.execute(
                "insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at) "
                f"select uuid(), id, 0, utc_timestamp(), utc_timestamp() {sign} interval 1 hour, utc_timestamp() "
                "from users, seq_1_to_1200"
            )
            cursor.execute(
                "insert into revocations (session_id, created_at, expires_at) "
                f"select uuid(), utc_timestamp(), utc_timestamp() {sign} interval 1 hour from seq_1_to_700"
            )
    assert admin.run("purge") == "Deleted: 1200 expired sessions, 700 revocations."
    assert admin.json("purge") == {"sessions": 0, "revocations": 0}
    with cursor_on(own_mariadb.url) as cursor:
        cursor.execute("select (select count(*) from refresh_tokens), (select count(*) from revocations)")
        assert cursor.fetchall() == ((1200, 700),)


COMMANDS = [
    ["users", "create", "ada"],
    ["users", "list"],
    ["users", "set-password", "ada"],
    ["users", "delete", "ada"],
    ["users", "import", "-", "--format", "csv"],
    ["sessions", "list", "ada"],
    ["sessions", "revoke", "x"],
    ["purge"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_a_database_a_command_says_so_in_one_line(command: list[str]) -> None:
    admin = Administrator(NOWHERE.format(free_port()))
    assert admin.run(*command, code=3, stdin=PASSWORD) == ""
    assert admin.err == "Error: the database can't be reached: Can't connect to MySQL server on '127.0.0.1'\n"


def test_an_old_schema_is_named(own_mariadb: LocalDatabase) -> None:
    migrate(own_mariadb.url, "rollback", "--revision", migrations.REQUIRED[-1])
    admin = Administrator(own_mariadb.url, JWT_SECRET=SECRET)
    lacks = f"the database lacks {migrations.REQUIRED[-1]}: run yoyo apply --batch"
    admin.run("users", "list", code=3)
    assert admin.err == f"Error: {lacks}\n"
    assert admin.run("config", "check", code=3) == f"DATABASE_URL: {lacks}"


def test_only_the_settings_that_a_command_needs_can_be_wrong(admin: Administrator) -> None:
    useless = {"JWT_SECRET": "short", "CORS_ORIGINS": "x", "POOL_SIZE": "x", "JWT_KEYS": "/nowhere", "LOG_LEVEL": "X"}
    admin.run("users", "list", "--limit", "1", code=0, stdin="", **useless)
    admin.run("users", "list", code=2, BCRYPT_ROUNDS="9")
    assert admin.err == "Error: BCRYPT_ROUNDS must be a whole number from 10 to 20, not '9'\n"
    admin.run("users", "list", code=2, DATABASE_URL="")
    assert admin.err == "Error: DATABASE_URL is not set\n"


def test_a_sound_configuration_is_confirmed(admin: Administrator, tmp_path: Path) -> None:
    assert admin.json("config", "check", JWT_SECRET=SECRET) == {"problems": []}
    KeyRotation(folder=KeyFolder(tmp_path / "keys"), max_age=300, longest_lifetime=300).new("ES256", 1_700_000_000)
    keys = {"JWT_ALGORITHM": "ES256", "JWT_KEYS": str(tmp_path / "keys")}
    assert (
        admin.run("config", "check", code=0, stdin="", **keys)
        == "The settings, the keys and the database are as they should be."
    )


def test_everything_that_is_wrong_is_named_at_once_and_no_secret_with_it(admin: Administrator, tmp_path: Path) -> None:
    """REQUIREMENTS 5, 6."""
    wrong = {
        "JWT_SECRET": "too-short-a-secret", "JWT_SECRET_PREVIOUS": "hidden-word", "JWT_EXPIRY": "soon",
        "MAX_SESSIONS": "0", "CORS_ORIGINS": "app.example", "REVOCATION_MAX_AGE": "1s",
        "DATABASE_URL": NOWHERE.format(free_port()),
    }  # fmt: skip
    problems = admin.json("config", "check", code=2, **wrong)["problems"]
    assert [problem.split()[0] for problem in problems] == [
        "REVOCATION_MAX_AGE", "JWT_SECRET", "JWT_SECRET_PREVIOUS", "JWT_EXPIRY", "MAX_SESSIONS", "CORS_ORIGINS",
        "DATABASE_URL:",
    ]  # fmt: skip
    assert "Can't connect" in problems[-1]
    assert "hidden-word" not in str(problems)
    assert "too-short-a-secret" not in str(problems)
    lines = admin.run("config", "check", code=2, DATABASE_URL="mysql://auth:hidden-word@db", JWT_SECRET="").splitlines()
    assert lines == [
        "DATABASE_URL must have the form mysql://user:password@host:port/database", "JWT_SECRET is not set",
    ]  # fmt: skip
    (tmp_path / "short").write_text("hidden-word")
    secret_file = {"JWT_SECRET": "", "JWT_SECRET_FILE": str(tmp_path / "short")}
    for url in ({"DATABASE_URL": ""}, {}):  # in the file alone, and in both
        files = {**secret_file, **url, "DATABASE_URL_FILE": "/nowhere"}
        lines = admin.run("config", "check", code=2, **files, JWKS_MAX_AGE="soon").splitlines()
        assert [line.split()[0] for line in lines][1:] == ["JWT_SECRET", "JWKS_MAX_AGE"]
        assert lines[0].startswith("DATABASE_URL_FILE must name a" if url else "DATABASE_URL and DATABASE_URL_FILE are")


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"JWT_ALGORITHM": "ES256"}, 2, "JWT_KEYS is not set: JWT_ALGORITHM=ES256 needs a folder of keys"),
        ({"JWT_ALGORITHM": "ES256", "JWT_KEYS": "/nowhere"}, 2, "JWT_KEYS: /nowhere: No such file or directory"),
        ({"JWT_SECRET": SECRET, "DATABASE_URL": "{other}"}, 3, "DATABASE_URL: Access denied for user "),
    ],
    ids=["no folder", "not there", "wrong password"],
)
def test_what_only_a_look_at_it_shows_is_named(
    admin: Administrator, mariadb: LocalDatabase, settings: dict[str, str], code: int, said: str
) -> None:
    other = f"mysql://auth:hidden-word@127.0.0.1:{mariadb.port}/auth"
    shown = admin.run(
        "config", "check", code=code, **{name: value.format(other=other) for name, value in settings.items()}
    )
    assert shown.startswith(said)
    assert len(shown.splitlines()) == 1
    assert "hidden-word" not in shown


def test_a_reader_who_goes_away_is_no_reason_for_a_traceback(admin: Administrator) -> None:
    process = admin.start("users", "list")
    assert process.stdout
    assert process.stdin
    process.stdout.close()
    process.stdin.close()
    assert process.wait(20) == 141
    assert process.stderr
    assert process.stderr.read() == b""
    process.stderr.close()
    with Path("/dev/full").open("w") as full:
        command = [str(TOOLS / "mstack-auth"), "users", "--help"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False)
    assert b"Traceback" not in done.stderr
    assert done.returncode == 2
