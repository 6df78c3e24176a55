import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from uuid_utils.compat import uuid7

from bench.servers import environment
from service.address import DatabaseAddress
from service.localdb import LocalDatabase
from service.queries import migrations
from tests.conftest import CHEAP_HASH, PASSWORD, StartClient
from tests.server import ISSUER, ROOT, SECRET, TOOLS, cursor_on, migrate, untraced

FILES = sorted((ROOT / "sql").glob("*.sql"))


def tables(url: str) -> dict[str, str]:
    """Each table's definition, without the counters that data leave in it."""
    with cursor_on(url) as cursor:
        cursor.execute("show tables")
        names = [row[0] for row in cursor.fetchall()]
        found = {}
        for name in names:
            cursor.execute(f"show create table `{name}`")
            found[name] = str(cursor.fetchall()[0][1])
        return found


def ours(url: str) -> dict[str, str]:
    return {name: text for name, text in tables(url).items() if "yoyo" not in name}


def test_the_release_knows_its_migrations() -> None:
    names = [path.name.removesuffix(".sql") for path in FILES if not path.name.endswith(".rollback.sql")]
    assert list(migrations.REQUIRED) == names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_migration_is_one_statement_that_can_be_repeated(path: Path) -> None:
    """MySQL commits each DDL statement by itself: what a killed `yoyo apply` left must not stand in the way."""
    text = re.sub(r"--.*", "", path.read_text()).strip()
    assert text.endswith(";")
    assert text.count(";") == 1
    assert re.search(r"if (not )?exists", text)
    if not path.name.endswith(".rollback.sql"):
        assert path.with_name(path.name.replace(".sql", ".rollback.sql")).exists()
        table = r"engine = InnoDB default character set = utf8mb4 collate = utf8mb4_bin;$"
        assert re.search(table, text) or text.startswith("alter table")


def test_migrations_apply_roll_back_and_apply_again(own_mariadb: LocalDatabase, tmp_path: Path) -> None:
    """And their folder may have spaces in its name."""
    folder = tmp_path / "with some spaces"
    shutil.copytree(ROOT / "sql", folder / "sql")
    shutil.copy(ROOT / "yoyo.ini", folder)
    first = ours(own_mariadb.url)
    assert set(first) == {"users", "refresh_tokens", "revocations"}
    migrate(own_mariadb.url, "rollback", "--all", folder=folder)
    assert ours(own_mariadb.url) == {}
    migrate(own_mariadb.url, folder=folder)
    assert ours(own_mariadb.url) == first


def test_the_database_never_folds_a_name_or_an_id(own_mariadb: LocalDatabase) -> None:
    """REQUIREMENTS 47, 51."""
    text = "\n".join(ours(own_mariadb.url).values())
    collations = set(re.findall(r"COLLATE[ =](\w+)", text))
    assert collations == {"ascii_bin", "utf8mb4_bin"}


def test_a_migration_that_ran_but_was_not_noted_is_no_obstacle(own_mariadb: LocalDatabase) -> None:
    before = ours(own_mariadb.url)
    with cursor_on(own_mariadb.url) as cursor:
        cursor.execute("delete from _yoyo_migration")
    migrate(own_mariadb.url)
    assert ours(own_mariadb.url) == before


@pytest.mark.parametrize("unmade", [{"_yoyo_version"}, set()], ids=["two tables", "three tables"])
def test_a_first_apply_that_was_killed_amid_its_own_tables_is_mended_as_the_readme_says(
    own_mariadb: LocalDatabase, unmade: set[str]
) -> None:
    """It makes them before the first migration, and can't go on where it was killed between them."""
    expected = ours(own_mariadb.url)
    migrate(own_mariadb.url, "rollback", "--all")
    with cursor_on(own_mariadb.url) as cursor:
        for table in ("_yoyo_log", "_yoyo_migration", "_yoyo_version"):
            cursor.execute(f"drop table {table}" if table in unmade else f"delete from {table}")
    env = untraced(DATABASE_URL=own_mariadb.url)
    apply = [str(TOOLS / "yoyo"), "apply", "--batch"]
    done = subprocess.run(apply, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1050" in done.stderr or "AssertionError" in done.stderr
    [remedy] = re.findall(r"`(drop table [^`]*_yoyo_[^`]*)`", (ROOT / "README.md").read_text())
    with cursor_on(own_mariadb.url) as cursor:
        cursor.execute(remedy)
    migrate(own_mariadb.url)
    assert ours(own_mariadb.url) == expected


def test_five_operators_at_once_make_one_schema(own_mariadb: LocalDatabase) -> None:
    expected = ours(own_mariadb.url)
    migrate(own_mariadb.url, "rollback", "--all")
    env = untraced(DATABASE_URL=own_mariadb.url)
    running = [
        subprocess.Popen(
            [TOOLS / "yoyo", "apply", "--batch"],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(5)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in running]
    codes = [process.returncode for process in running]
    for code, output in zip(codes, outputs, strict=True):
        assert code == 0 or "LockTimeout" in output, output
    assert 0 in codes
    assert ours(own_mariadb.url) == expected


def test_rolling_one_migration_back_takes_those_that_need_it_along(own_mariadb: LocalDatabase) -> None:
    for number, name in reversed(list(enumerate(migrations.REQUIRED))):
        migrate(own_mariadb.url, "rollback", "--revision", name)
        with cursor_on(own_mariadb.url) as cursor:
            cursor.execute("select migration_id from _yoyo_migration order by migration_id")
            kept = tuple(row[0] for row in cursor.fetchall())
        assert kept == migrations.REQUIRED[:number]
        migrate(own_mariadb.url)


async def test_everybody_stays_logged_in_through_an_upgrade_and_back(
    own_mariadb: LocalDatabase, start: StartClient
) -> None:
    """The database of the first release, with sessions that stay, that rotate and that are new."""
    migrate(own_mariadb.url, "rollback", "--revision", "0003.describe-sessions")
    first_release = ours(own_mariadb.url)
    now, user = int(time.time()), str(uuid7())
    opened = {str(uuid7()): generation for generation in (0, 1, 7)}
    with cursor_on(own_mariadb.url) as cursor:
        columns = "id, username, username_key, password_hash, created_at"
        cursor.execute(f"insert into users ({columns}) values (%s, 'Ada', 'ada', %s, now())", (user, CHEAP_HASH))
        columns = "id, user_id, generation, rotated_at, expires_at, created_at"
        moments = "from_unixtime(%s), from_unixtime(%s), from_unixtime(%s)"
        cursor.executemany(
            f"insert into refresh_tokens ({columns}) values (%s, %s, %s, {moments})",
            [(session, user, generation, now, now + 7 * 86400, now) for session, generation in opened.items()],
        )
    migrate(own_mariadb.url)
    who, lives = {"user_id": user, "username": "Ada"}, {"issued_at": now, "expires_at": now + 7 * 86400}
    tokens = {
        session: ISSUER.issue_refresh(session_id=session, generation=generation, **who, **lives)  # type: ignore[arg-type]
        for session, generation in opened.items()
    }
    async with start(database=DatabaseAddress.from_url(own_mariadb.url)) as client:
        pairs = []
        for token in tokens.values():
            for _ in range(2):  # the second time as a client that ignores rotation
                answer = await client.post("/auth/refresh", json={"refreshToken": token})
                assert answer.status_code == 200
            pairs.append(answer.json())
        assert (await client.post("/auth/login", json={"username": "ada", "password": PASSWORD})).status_code == 200
        answer = await client.get("/auth/sessions", headers={"Authorization": f"Bearer {pairs[0]['token']}"})
        described = {each["id"]: each["userAgent"] for each in answer.json()["sessions"]}
        assert len(described) == 4
        assert all(described[session] is None for session in opened)
    migrate(own_mariadb.url, "rollback", "--revision", "0003.describe-sessions")
    assert ours(own_mariadb.url) == first_release
    with cursor_on(own_mariadb.url) as cursor:
        cursor.execute("select id, generation from refresh_tokens order by created_at, id")
        kept = dict(cursor.fetchall())
    assert {session: kept[session] for session in opened} == {each: gen + 1 for each, gen in opened.items()}


@pytest.mark.parametrize(("kept", "missing"), [(0, list(migrations.REQUIRED)), (1, list(migrations.REQUIRED[1:]))])
def test_a_service_refuses_a_schema_that_is_missing_or_older(
    own_mariadb: LocalDatabase, kept: int, missing: list[str]
) -> None:
    """It names what is missing, exits with 3, and applies nothing itself."""
    migrate(own_mariadb.url, "rollback", *(["--all"] if not kept else ["--revision", migrations.REQUIRED[kept]]))
    before = tables(own_mariadb.url)
    done = subprocess.run(
        [TOOLS / "uvicorn", "--factory", "service.app:create_app", "--port", "0"],
        cwd=ROOT,
        env=environment(DATABASE_URL=own_mariadb.url, JWT_SECRET=SECRET),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    refusal = next(line for line in done.stdout.splitlines() if "schema_outdated" in line)
    for name in migrations.REQUIRED:
        assert (name in refusal) == (name in missing)
    assert "yoyo apply --batch" in refusal
    assert "Traceback" not in done.stdout + done.stderr
    assert tables(own_mariadb.url) == before
