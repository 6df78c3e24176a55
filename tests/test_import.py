"""Moving in: `mstack-auth users import`."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pymysql.cursors import Cursor

from bench.servers import environment
from service.importfiles import read_csv, read_jsonl
from service.imports import Candidate
from service.localdb import LocalDatabase
from tests import newcomers
from tests.conftest import PASSWORD, add_user
from tests.newcomers import foreign_hashes
from tests.operators import Administrator
from tests.server import ROOT, TOOLS, cursor_on, untraced
from tests.test_database_faults import as_root, ask_as_root

HASH = foreign_hashes(PASSWORD)["bcrypt 2b"]
HEADER = "username,password_hash\n"
NO_USERNAME = (
    "A username consists of letters and digits of one writing direction and ASCII's punctuation and symbols,"
    " without spaces or invisible characters."
)


@pytest.fixture
def admin(mariadb: LocalDatabase) -> Administrator:
    return Administrator(mariadb.url)


def outcome(imported: int, already_there: int, refused: int, *, dry_run: bool = False) -> dict[str, object]:
    counts = {"imported": imported, "already_there": already_there, "refused": refused}
    return {**counts, "dry_run": dry_run, "complete": True}


def import_csv(admin: Administrator, text: str | bytes, *options: str, code: int = 0) -> dict[str, object]:
    shown = admin.run_apart("users", "import", "-", "--format", "csv", "--json", *options, code=code, stdin=text)
    found: dict[str, object] = json.loads(shown)
    return found


def refusals(admin: Administrator) -> dict[str, str]:
    """What the last command refused, by where it stood."""
    found = [json.loads(line) for line in admin.err.splitlines()]
    return {each["where"]: each["reason"] for each in found}


async def login(client: httpx.AsyncClient, name: str, password: str) -> int:
    answer = await client.post("/auth/login", json={"username": name, "password": password})
    return answer.status_code


async def test_users_of_every_scheme_log_in_as_ever_and_are_renewed_unnoticed(
    admin: Administrator, client: httpx.AsyncClient, sql: Cursor, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 38: by a service that was running before they came."""
    users = {new_name(): stored for stored in foreign_hashes(PASSWORD).values()}
    lines = "".join(f'{name},"{stored}"\n' for name, stored in users.items())
    assert import_csv(admin, HEADER + lines) == outcome(len(users), 0, 0)
    for name, stored in users.items():
        assert await login(client, name, PASSWORD[1:]) == 401, stored
        assert await login(client, name, PASSWORD) == 200, stored
        sql.execute("select password_hash from users where username = %s", name)
        [(renewed,)] = sql.fetchall()
        assert renewed.startswith("$2b$10$"), stored
        assert await login(client, name, PASSWORD) == 200, stored
    assert import_csv(admin, HEADER + lines) == outcome(0, len(users), 0), "though their hashes are others now"


async def test_a_password_that_bcrypt_has_no_room_for_goes_on_under_its_scheme(
    admin: Administrator, client: httpx.AsyncClient, sql: Cursor, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 34."""
    name, long = new_name(), "x" * 100
    stored = foreign_hashes(long)["django"]
    import_csv(admin, f"{HEADER}{name},{stored}\n")
    for _ in range(2):
        assert await login(client, name, long) == 200
        assert await login(client, name, long[:72]) == 401
    sql.execute("select password_hash from users where username = %s", name)
    assert sql.fetchall() == ((stored,),)


BAD_CSV = [
    (b"two words,%s", NO_USERNAME),
    (b",%s", NO_USERNAME),
    (b"x" * 65 + b",%s", "A username has at most 64 characters."),
    (b"caf\xe9,%s", "it is not UTF-8"),
    (b"nul\0,%s", NO_USERNAME),
    (b"alone", "it has 1 columns, and the header 2"),
    (b"a,%s,b", "it has 3 columns, and the header 2"),
    (b'"a"b,%s', "',' expected after '\"'"),
    (b"plain,hunter2-plain", "no password hash of a scheme that is known; a plain-text password is never stored"),
    (b"empty,", "there is no password hash"),
    (b"costly,$2b$31$" + HASH[7:].encode(), "a hash of bcrypt with 31 rounds, not 4 to 15"),
    (b"long,%s" + b" " * 70_000, "it is longer than 65536 bytes, or a quote in it is never closed"),
]


def test_a_bad_line_is_refused_with_its_reason_and_stops_nothing(
    admin: Administrator, tmp_path: Path, new_name: Callable[[], str]
) -> None:
    bad = [(line.replace(b"%s", HASH.encode()), reason) for line, reason in BAD_CSV]
    good = [new_name().encode() for _ in range(len(bad) + 1)]
    lines = [b"\xef\xbb\xbfUsername , PASSWORD"]
    for name, (line, _) in zip(good, bad, strict=False):
        lines += [name + b"," + HASH.encode(), line]
    lines += [b"", good[-1] + b',"' + HASH.encode() + b'"']
    file, report = tmp_path / "users.csv", tmp_path / "refused.txt"
    file.write_bytes(b"\r\n".join(lines))
    shown = admin.run("users", "import", str(file), "--report", str(report), code=1)
    assert shown == f"Imported: {len(good)}, already there: 0, refused: {len(bad)}."
    assert admin.err == ""
    expected = [f"line {2 * number + 3}: {reason}" for number, (_, reason) in enumerate(bad)]
    assert report.read_text().splitlines() == expected
    assert "hunter2" not in report.read_text(), "it may be a password"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("20240102", 1704153600),
        ("2024-01-02", 1704153600),
        ("1704153600", 1704153600),
        (1704153600, 1704153600),
        ("", 0),
    ],
)
def test_a_time_may_be_a_date_or_seconds(said: str | int, meant: int) -> None:
    """Eight digits were August 1970 once."""
    line = json.dumps({"username": "ada", "password": HASH, "created_at": said}).encode()
    [found] = read_jsonl(io.BytesIO(line), now=1800000000)
    assert isinstance(found, Candidate)
    assert (found.created_at or 0) == meant


def test_csv_says_when_a_user_signed_up_and_its_columns_may_be_in_any_order() -> None:
    """A column `password` beside `password_hash` may hold anything, such as what it says."""
    text = f"created_at,password,username,password_hash\n2024-01-31T12:00:00+02:00,x,ada,{HASH}\n,x,bob,{HASH}\n"
    ada, bob = read_csv(io.BytesIO(text.encode()), now=1800000000)
    assert isinstance(ada, Candidate)
    assert isinstance(bob, Candidate)
    assert (ada.username, ada.created_at, ada.password_hash) == ("ada", 1706695200, HASH)
    assert (bob.username, bob.created_at, bob.password_hash) == ("bob", None, HASH)


def test_a_json_line_may_have_password_beside_password_hash() -> None:
    line = json.dumps({"username": "ada", "password": "hunter2", "password_hash": HASH}).encode()
    [found] = read_jsonl(io.BytesIO(line), now=1800000000)
    assert isinstance(found, Candidate)
    assert found.password_hash == HASH


def test_a_time_without_a_zone_is_utc_and_none_is_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for a day, by which the clocks and zones of two machines may differ."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    now = 1800000000
    times: list[str | int] = ["2024-01-31T12:00:00", now + 86399, now + 86401]
    lines = "\n".join(json.dumps({"username": "ada", "password": HASH, "created_at": each}) for each in times)
    try:
        found = list(read_jsonl(io.BytesIO(lines.encode()), now=now))
    finally:
        monkeypatch.undo()
        time.tzset()
    understood = [each.created_at for each in found if isinstance(each, Candidate)]
    assert (len(found), understood) == (3, [1706702400, now + 86399])


def test_who_is_there_with_the_same_hash_is_already_there(
    admin: Administrator, sql: Cursor, new_name: Callable[[], str]
) -> None:
    """Whatever brought the user: the id is another one then."""
    name = add_user(sql, new_name(), HASH)
    assert import_csv(admin, f"{HEADER}{name},{HASH}\n") == outcome(0, 1, 0)


def test_bad_json_lines_are_refused_with_their_reasons(admin: Administrator, new_name: Callable[[], str]) -> None:
    name = f"json-{new_name()}"  # so that it is on the first page
    good = json.dumps({"username": name, "password": HASH, "created_at": "2024-01-31T12:00:00+02:00", "more": [1]})
    bad = {
        b"{": "it is not the JSON that is expected: Input data was truncated",
        b"[]": "it is not the JSON that is expected: Expected `object`, got `array`",
        b'{"username":"x"}': "there is no password hash",
        b'{"username":1,"password":"x"}': "it is not the JSON that is expected: Expected `str`, got `int` - at `$.user",
        b'{"username":null}': "it is not the JSON that is expected: Expected `str`, got `null` - at `$.username`",
        b'{"password":"hunter2"}': "it is not the JSON that is expected: Object missing required field `username`",
        b'{"username":"caf\xe9"}': "it is not UTF-8",
        b'{"username":"x","y":' + b"[" * 50_000: "it is not the JSON that is expected: maximum recursion depth ",
        b'{"username":"x","created_at":99999999999}': "created_at is no time between 1970 and now, ",
        b'{"username":"x","created_at":-1}': "created_at is no time between 1970 and now, ",
        b'{"username":"x","created_at":"soon"}': "created_at is no time between 1970 and now, ",
        b'{"username":"x","created_at":1.5}': "it is not the JSON that is expected: Expected `int | str | null`, ",
        b'"' + b"x" * 3_000_000 + b'"': "it is longer than 65536 bytes",
    }
    lines = b"\n".join([*bad, b"  ", good.encode()])
    found = json.loads(admin.run_apart("users", "import", "-", "--format", "jsonl", "--json", code=1, stdin=lines))
    assert found == outcome(1, 0, len(bad))
    for (where, reason), expected in zip(refusals(admin).items(), enumerate(bad.values(), 1), strict=True):
        assert where == f"line {expected[0]}"
        assert reason.startswith(expected[1])
    assert "hunter2" not in admin.err
    listed = admin.json("users", "list", "--after", "json-", "--limit", "1000")["users"]
    assert [user["created_at"] for user in listed if user["username"] == name] == [1706695200]


def test_a_record_may_go_over_lines_and_a_quote_that_is_never_closed_takes_some_along(
    admin: Administrator, new_name: Callable[[], str]
) -> None:
    """What a user wrote into another column can't become a user."""
    first, last = new_name(), new_name()
    text = f'username,bio,password_hash\n{first},"I am\nsneaky,,{HASH}\n",{HASH}\nopen,"{"x" * 600},\n'
    text += "".join(f"{number},{'y' * 600},z\n" for number in range(120)) + f"{last},,{HASH}\n"
    found = import_csv(admin, text, code=1)
    assert found["imported"] == 2
    [(where, reason), *rest] = refusals(admin).items()
    assert where.startswith("lines 5 to 1")
    assert reason == "it is longer than 65536 bytes, or a quote in it is never closed"
    assert {reason for _, reason in rest} <= {
        "no password hash of a scheme that is known; a plain-text password is never stored"
    }
    assert "sneaky" not in admin.run("users", "list", "--after", "sneakx", "--limit", "1")


def test_a_name_belongs_to_whoever_has_it_or_comes_first(admin: Administrator, new_name: Callable[[], str]) -> None:
    """REQUIREMENTS 47, 48."""
    exists, name = new_name(), new_name()
    admin.run("users", "create", exists, stdin=PASSWORD)
    other = HASH[:-1] + ("." if HASH[-1] != "." else "O")
    lines = [f"{exists.upper()},{HASH}", f"{name},{HASH}", f"{name.upper()},{other}", f"{name},{HASH}"]
    filler = [f"{newcomer}-{name},{HASH}" for newcomer, _ in newcomers.rows(1000)]
    lines += [*filler, f"{name.title()},{other}", f"{name},{HASH}"]  # in the next batch
    text = HEADER + "\n".join(lines)
    reasons = {
        "line 2": "this name is taken by a user who exists",
        "line 4": "this name is taken by line 3",
        "line 1006": "this name is taken by line 3",
    }
    assert import_csv(admin, text, "--dry-run", code=1) == outcome(1001, 2, 3, dry_run=True)
    assert refusals(admin) == reasons
    assert import_csv(admin, text, code=1) == outcome(1001, 2, 3), "as the dry run had said, which wrote nothing"
    assert refusals(admin) == reasons
    assert import_csv(admin, text, code=1) == outcome(0, 1003, 3)


def test_only_the_first_refusals_are_shown_where_no_file_is_named(admin: Administrator) -> None:
    admin.run_apart("users", "import", "-", "--format", "csv", code=1, stdin=HEADER + "x\n" * 2500)
    lines = admin.err.splitlines()
    assert len(lines) == 21
    assert lines[0] == "line 2: it has 1 columns, and the header 2"
    assert lines[-1] == "… and 2480 more; --report FILE has them all"


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        (["-"], "", "say with --format what the file is"),
        ([], "", "name either a FILE or --from-mysql"),
        (["-", "--from-mysql", "mysql://a:b@c/d"], "", "name either a FILE or --from-mysql"),
        (["/nowhere/users.csv"], "", "/nowhere/users.csv: No such file or directory"),
        (
            ["{file}", "--format", "csv"],
            "",
            "the first line must be a header with the columns username and password_hash",
        ),
        (
            ["{file}", "--format", "csv"],
            f"ada,{HASH}\n",
            "the first line must be a header with the columns username and ",
        ),
        (["{file}", "--format", "csv"], "username,password,username\n", "the header has a column twice"),
        (["{file}", "--format", "csv"], "x" * 70_000, "the header can't be read: it is longer than 65536 bytes"),
        (["{file}", "--format", "csv"], b"\xff,\n", "the header can't be read: it is not UTF-8"),
        (
            ["{file}", "--format", "csv", "--report", "/nowhere/report"],
            HEADER,
            "/nowhere/report: No such file or directory",
        ),
        (["--from-mysql", ""], "", "--from-mysql must begin with mysql:// (also for MariaDB)"),
        (["--from-mysql", "postgres://a:b@c/d"], "", "--from-mysql must begin with mysql:// (also for MariaDB)"),
        (["--from-mysql", "-"], "", "a line is expected on standard input"),
        (["--from-mysql", "mysql://a:b@c/d", "--table", "x "], "", "--table is not the name of a table"),
        (["--from-mysql", "mysql://a:b@c/d", "--table", ""], "", "--table is not the name of a table"),
    ],
    ids=range(15),
)
def test_a_source_that_is_none_is_wrong_usage(
    admin: Administrator, tmp_path: Path, arguments: list[str], text: str | bytes, said: str
) -> None:
    file = tmp_path / "users"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    admin.run("users", "import", *(each.format(file=file) for each in arguments), code=2)
    assert f"Error: {said}" in admin.err


def test_the_report_never_overwrites_the_file(admin: Administrator, mariadb: LocalDatabase, tmp_path: Path) -> None:
    """Which may be standard input too."""
    file = tmp_path / "users.csv"
    file.write_text(HEADER)
    admin.run("users", "import", str(file), "--report", str(file), code=2)
    arguments = ["users", "import", "-", "--format", "csv", "--report", str(file)]
    with file.open() as opened:
        done = subprocess.run(
            [TOOLS / "mstack-auth", *arguments],
            env=environment(DATABASE_URL=mariadb.url),
            stdin=opened,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, file.read_text()) == (2, HEADER)
    assert "the report would overwrite the FILE" in done.stderr


def test_an_import_that_was_killed_goes_on_and_nobody_is_lost_or_doubled(
    own_mariadb: LocalDatabase, tmp_path: Path
) -> None:
    admin, count = Administrator(own_mariadb.url), 10_000
    file = tmp_path / "users.csv"
    file.write_text(newcomers.csv(count))
    with cursor_on(own_mariadb.url) as cursor:
        process = admin.start("users", "import", str(file))
        while stored(cursor) < 2000:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.communicate()
        before = stored(cursor)
        assert before < count
        found = admin.json("users", "import", str(file))
        # What was under way at the server when the process was killed may have been counted too early.
        assert found["imported"] + found["already_there"] == count
        assert found["already_there"] >= before
        assert stored(cursor) == count
        cursor.execute("select count(distinct username_key, password_hash), min(username) from users")
        assert cursor.fetchall() == ((count, "Newcomer-0"),)
    assert admin.json("users", "import", str(file)) == outcome(0, count, 0)


def stored(cursor: Cursor, prefix: str = "") -> int:
    cursor.execute("select count(*) from users where username like %s", f"{prefix}%")
    [(count,)] = cursor.fetchall()
    return int(count)


def test_ctrl_c_says_what_was_done(admin: Administrator, sql: Cursor, new_name: Callable[[], str]) -> None:
    prefix = new_name()
    process = admin.start("users", "import", "-", "--format", "csv", "--json")
    assert process.stdin
    process.stdin.write(newcomers.csv(2500, prefix).encode())
    process.stdin.flush()
    while stored(sql, prefix) < 2000:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)  # while it waits for more
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(out) == {**outcome(2000, 0, 0), "complete": False}
    assert err == b"Stopped.\n"


def test_ctrl_c_amid_a_batch_lets_it_be_done_and_counted(
    mariadb: LocalDatabase, sql: Cursor, new_name: Callable[[], str]
) -> None:
    """Also where the host of the database had to be looked up, which starts a thread that signals may come by."""
    prefix = new_name()
    admin = Administrator(mariadb.url.replace("127.0.0.1", "localhost"))
    process = admin.start("users", "import", "-", "--format", "csv", "--json")
    assert process.stdin
    sql.execute("begin")
    try:
        columns = "id, username, username_key, password_hash, created_at"
        sql.execute(f"insert into users ({columns}) values ('', '', %s, '', now())", f"{prefix}-500")
        process.stdin.write(newcomers.csv(1500, prefix).encode())
        process.stdin.flush()
        while not ask_as_root(mariadb, "select 1 from information_schema.innodb_trx where trx_state = 'LOCK WAIT'"):
            assert process.poll() is None
            time.sleep(0.2)  # InnoDB tells whoever asks sooner what it told before
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)  # nothing tells that a signal has come
    finally:
        sql.execute("rollback")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(out) == {**outcome(1000, 0, 0), "complete": False}
    assert err == b"Stopped.\n"


def test_a_person_sees_how_far_it_is_and_a_program_does_not(mariadb: LocalDatabase, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text(newcomers.csv(3000))
    for options, seen in (["--dry-run"], True), (["--dry-run", "--json"], False):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [str(TOOLS / "mstack-auth"), "users", "import", str(file), *options],
            cwd=ROOT,
            env=environment(DATABASE_URL=mariadb.url),
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        out, _ = process.communicate(timeout=60)
        os.write(theirs, b"\n")
        shown = os.read(ours, 10_000)
        os.close(ours)
        os.close(theirs)
        assert process.returncode == 0, shown
        assert (b"100%" in shown) == seen
        assert b"3000" in out
        assert b"%" not in out


def test_a_database_that_goes_away_is_told_apart_and_what_was_done_is_said(own_mariadb: LocalDatabase) -> None:
    admin = Administrator(own_mariadb.url)
    process = admin.start("users", "import", "-", "--format", "csv")
    assert process.stdin
    process.stdin.write(newcomers.csv(1500).encode())
    process.stdin.flush()
    with cursor_on(own_mariadb.url) as cursor:
        while stored(cursor) < 1000:
            time.sleep(0.01)
    own_mariadb.kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3
    # None, where the batch was stored but the answer lost: then it is already there the next time.
    said = rb"Imported: (0|1000), already there: 0, refused: 0\. Not all was read: run it again to go on\.\n"
    assert re.fullmatch(said, out)
    assert err.startswith(b"Error: the database can't be reached: ")
    assert err.count(b"\n") == 1


def test_a_file_of_any_size_takes_the_same_memory(admin: Administrator) -> None:
    """A line without an end, of 100 MB, and then a user."""
    process = admin.start("users", "import", "-", "--format", "jsonl", "--dry-run")
    assert process.stdin
    for _ in range(100):
        process.stdin.write(b"x" * 1_000_000)
    process.stdin.flush()  # all but what a pipe holds has been read
    command = ["ps", "-o", "rss=", "-p", str(process.pid)]
    kibibytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    end = f'\n{{"username":"after-all-that","password":"{HASH}"}}\n'.encode()
    out, _ = process.communicate(end, timeout=20)
    assert out == b"Would be imported: 1, already there: 0, refused: 1.\n"
    assert kibibytes < 90_000


@pytest.fixture
def original(mariadb: LocalDatabase) -> Iterator[Cursor]:
    """A database as the original has it, which an account of its own may only read."""
    as_root(
        mariadb,
        "create or replace database original",
        "grant all on original.* to auth@127.0.0.1",
        "create or replace user reader@127.0.0.1 identified by 'hidden-word'",
        "grant select on original.* to reader@127.0.0.1",
    )
    with cursor_on(mariadb.url.removesuffix("auth") + "original") as cursor:
        cursor.execute(
            "create table users (id int auto_increment primary key, username varchar(255) not null unique, "
            "password varchar(255) not null) default character set latin1"
        )
        yield cursor


def test_the_table_of_the_original_moves_in_page_by_page(
    admin: Administrator, mariadb: LocalDatabase, original: Cursor, sql: Cursor, new_name: Callable[[], str]
) -> None:
    url = f"mysql://reader:hidden-word@127.0.0.1:{mariadb.port}/original"
    insert = "insert into users (username, password) values (%s, %s)"
    original.executemany(
        insert, [*newcomers.rows(2500, new_name()), ("two words", HASH), ("plain", "hunter2"), ("Größe", HASH)]
    )
    assert admin.json("users", "import", "--from-mysql", url, "--dry-run", code=1) == outcome(2501, 0, 2, dry_run=True)
    assert admin.json("users", "import", "--from-mysql", "-", code=1, stdin=f"{url}\n") == outcome(2501, 0, 2)
    reason = NO_USERNAME
    assert refusals(admin)["id 2501"] == reason
    assert set(refusals(admin)) == {"id 2501", "id 2502"}
    assert "hunter2" not in admin.err
    assert admin.json("users", "import", "--from-mysql", url, code=1) == outcome(0, 2501, 2)
    sql.execute("select username, username_key from users where username like 'Gr%'")
    assert sql.fetchall() == (("Größe", "größe"),)


def test_ids_may_be_text_and_the_name_of_a_table_anything(
    admin: Administrator, mariadb: LocalDatabase, original: Cursor, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 52."""
    url = mariadb.url.removesuffix("auth") + "original"
    name = "old `users`; drop table users -- '\"\\ é"
    quoted = name.replace("`", "``")
    original.execute(f"create table `{quoted}` (id varchar(40) primary key, username blob, password varbinary(99))")
    original.executemany(
        f"insert into `{quoted}` values (%s, %s, %s)",
        [
            (f"it's \\ {number:04}", name, found)
            for number, (name, found) in enumerate(newcomers.rows(1500, new_name()))
        ],
    )
    original.execute(f"insert into `{quoted}` values ('x1', x'ff', 'x'), ('x2', 'x2', null), ('x3', null, 'x')")
    assert admin.json("users", "import", "--from-mysql", url, "--table", name, code=1) == outcome(1500, 0, 3)
    assert refusals(admin) == {
        "id x1": "it is not UTF-8",
        "id x2": "there is no password hash",
        "id x3": "username and password must be text",
    }
    original.execute("select count(*) from users")
    assert original.fetchall() == ((0,),)


def test_an_id_of_the_table_writes_no_line_of_its_own(
    admin: Administrator, mariadb: LocalDatabase, original: Cursor, tmp_path: Path
) -> None:
    """On a terminal or in the report: an id is text that somebody else chose."""
    url = mariadb.url.removesuffix("auth") + "original"
    original.execute("create table texts (id varchar(40) primary key, username text, password text)")
    original.execute("insert into texts values (%s, 'x', 'x')", ("1\nImported: 9999\x1b[2J",))
    command = ["users", "import", "--from-mysql", url, "--table", "texts"]
    reason = "no password hash of a scheme that is known; a plain-text password is never stored"
    said = f"id 1\\nImported: 9999\\u001b[2J: {reason}\n"
    admin.run(*command, code=1)
    assert admin.err == said
    admin.run(*command, "--report", str(tmp_path / "report"), code=1)
    assert (tmp_path / "report").read_text() == said


def test_a_disk_without_room_for_the_names_is_one_line(admin: Administrator, tmp_path: Path) -> None:
    """Which a source may have any number of; only few of them are held in memory."""
    lines = "".join(f"{number:06}-{'x' * 57},{HASH}\n" for number in range(24_000))
    (tmp_path / "users.csv").write_text(HEADER + lines)
    limited = f"ulimit -f 256; exec {TOOLS}/mstack-auth users import {tmp_path}/users.csv --dry-run"
    environ = untraced(DATABASE_URL=admin.database_url)
    done = subprocess.run(["bash", "-c", limited], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "Error: temporary file: disk I/O error\n")
    assert re.fullmatch(r"Would be imported: [1-9]\d*000, .* Not all was read: run it again to go on\.\n", done.stdout)


def test_a_table_that_can_not_be_read_is_one_line(
    admin: Administrator, mariadb: LocalDatabase, original: Cursor
) -> None:
    url = mariadb.url.removesuffix("auth") + "original"
    original.execute("create table other (id int primary key, name text)")
    original.execute("create table bits (id binary(16) primary key, username text, password text)")
    original.execute("insert into bits values ('x', 'x', 'x')")
    for table, code, said in [
        ("nothing", 3, "Table 'original.nothing' doesn't exist"),
        ("other", 3, "Unknown column 'username' in "),
        ("bits", 2, "its column id holds neither numbers nor text"),
    ]:
        assert admin.run("users", "import", "--from-mysql", url, "--table", table, code=code) == ""
        assert said in admin.err
        assert code == 2 or admin.err.startswith("Error: --from-mysql can't be read: ")
    admin.run("users", "import", "--from-mysql", url.replace("auth:", "auth:x"), code=3)
    assert "Access denied for user 'auth'" in admin.err
