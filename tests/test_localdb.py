import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pymysql
import pytest

from service import localdb, mariadb
from service.localdb import LocalDatabase, local_database
from service.mariadb import LocalDatabaseError
from tests.data import copy_data
from tests.server import ROOT, cursor_on


@pytest.fixture
def folder(new_data: Path, tmp_path: Path) -> Path:
    """One that has been set up."""
    copy_data(new_data, tmp_path / "db")
    return tmp_path / "db"


def query(database: LocalDatabase, statement: str) -> tuple[tuple[object, ...], ...]:
    with cursor_on(database.url) as cursor:
        cursor.execute(statement)
        return tuple(cursor.fetchall())


def test_data_stay_between_runs_and_nobody_else_may_log_in(folder: Path) -> None:
    with local_database(folder) as database:
        query(database, "create table kept (id int)")
        first = database.url
    with local_database(folder) as database:
        assert ("kept",) in query(database, "show tables")
        assert database.url != first, "a new password each run"
        for user in ("root", "auth", ""):
            with pytest.raises(pymysql.OperationalError, match="Access denied"):
                pymysql.connect(host="127.0.0.1", port=database.port, user=user, password="")
        pid = database.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_server_listens_on_the_loopback_address_only(mariadb: LocalDatabase) -> None:
    assert query(mariadb, "select @@bind_address") == (("127.0.0.1",),)


def test_a_folder_belongs_to_one_process_at_a_time(folder: Path) -> None:
    with local_database(folder), pytest.raises(LocalDatabaseError, match="another process"), local_database(folder):
        pass


def test_a_port_that_somebody_else_took_is_not_insisted_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free_port = localdb.free_port
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setattr(localdb, "free_port", lambda: next(ports))
        with local_database(folder) as database:
            assert database.port != taken.getsockname()[1]
            assert query(database, "select 1") == ((1,),)


def test_a_server_that_does_not_start_says_where_its_log_is(folder: Path) -> None:
    with pytest.raises(LocalDatabaseError, match=r"mariadb\.log"), local_database(folder, "--no-such-option"):
        pass


def test_a_set_up_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "db" / "data.unfinished" / "mysql").mkdir(parents=True)
    with local_database(tmp_path / "db") as database:
        assert query(database, "select 1") == ((1,),)


def test_a_set_up_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    broken = tools / "mariadb-install-db"
    broken.write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with pytest.raises(LocalDatabaseError, match="no space left"), local_database(tmp_path / "db"):
        pass


def test_a_folder_may_have_spaces_in_its_name(new_data: Path, tmp_path: Path) -> None:
    copy_data(new_data, tmp_path / "with some spaces" / "db")
    with local_database(tmp_path / "with some spaces" / "db") as database:
        assert query(database, "select 1") == ((1,),)


def test_a_server_that_outlived_its_killed_owner_is_ended_first(folder: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom service.localdb import local_database\n"
        "with local_database(Path(sys.argv[1])) as d:\n    print(d.pid, flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.kill()
    os.kill(pid, 0)
    with local_database(folder) as database:
        assert query(database, "select 1") == ((1,),)
        assert database.pid != pid


def test_a_server_that_was_still_starting_when_its_owner_was_killed_is_ended_first(folder: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom service.localdb import LocalDatabase, local_database\n"
        "LocalDatabase._answers = lambda _: os.kill(os.getpid(), 9)\nlocal_database(Path(sys.argv[1])).__enter__()"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], cwd=ROOT, check=False)
    with local_database(folder) as database:
        assert query(database, "select 1") == ((1,),)


def test_a_stop_at_the_moment_the_server_is_started_ends_it(folder: Path, interrupted_start: list[int]) -> None:
    with pytest.raises(KeyboardInterrupt), local_database(folder):
        pass
    [pid] = interrupted_start
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_account_without_a_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4294967)
    with pytest.raises(LocalDatabaseError, match="4294967"):
        mariadb.account()


def test_a_missing_server_is_one_sentence_that_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mariadb, "_SEARCH_PATH", str(tmp_path))
    assert shutil.which("mariadbd") is None
    with (
        pytest.raises(LocalDatabaseError, match=r"apt install mariadb-server .*brew install mariadb"),
        local_database(tmp_path / "db"),
    ):
        pass


def test_a_server_that_ignores_its_stop_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localdb, "_STOP_TIMEOUT", 0)
    with local_database(folder) as database:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(database.pid, 0)
