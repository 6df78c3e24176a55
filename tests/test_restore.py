"""The README's backup, and what a restored one means for those who were logged in meanwhile."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from bench.servers import environment
from service.localdb import LocalDatabase
from service.mariadb import account
from tests.conftest import PASSWORD
from tests.server import Server
from tests.test_readme import blocks

DUMP, RESTORE = (text for _, text in blocks("Deployment") if text.startswith("mariadb"))
Run = Callable[[str], None]
NEW_PASSWORD = "battery staple"


@pytest.fixture
def run(own_mariadb: LocalDatabase, tmp_path: Path) -> Run:
    """Runs a block of the README as the administrator of the server."""
    (tmp_path / ".my.cnf").write_text(f"[client]\nsocket={own_mariadb.socket}\nuser={account()}\n")

    def run_block(script: str) -> None:
        env = environment(HOME=str(tmp_path))
        command = ["bash", "-ec", script]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return run_block


def login(client: httpx.Client, password: str = PASSWORD) -> httpx.Response:
    return client.post("/auth/login", json={"username": "ada", "password": password})


def refresh(client: httpx.Client, token: str) -> httpx.Response:
    return client.post("/auth/refresh", json={"refreshToken": token})


def client_of(server: Server) -> httpx.Client:
    return httpx.Client(base_url=server.url, timeout=20)


def live_on(client: httpx.Client, run: Run) -> dict[str, str]:
    """A session each that was rotated, ended, or opened after the dump, and one that nothing happened to."""
    client.post("/auth/signup", json={"username": "ada", "password": PASSWORD}).raise_for_status()
    found = {name: login(client).json()["refreshToken"] for name in ("kept", "before", "ended")}
    run(DUMP)
    found["rotated"] = refresh(client, found["before"]).json()["refreshToken"]
    client.post("/auth/logout", json={"refreshToken": found["ended"]}).raise_for_status()
    found["opened"] = login(client).json()["refreshToken"]
    return found


def test_a_restored_dump_alone_revives_what_had_ended(own_mariadb: LocalDatabase, run: Run, tmp_path: Path) -> None:
    """Why the README deletes the sessions: what was opened or rotated after the dump is over, but the rest lives."""
    with Server(own_mariadb.url, tmp_path) as server, client_of(server) as client:
        tokens = live_on(client, run)
        assert refresh(client, tokens["ended"]).status_code == 401
    run(RESTORE.splitlines()[0])
    with Server(own_mariadb.url, tmp_path) as server, client_of(server) as client:
        for name in ("opened", "rotated"):
            answer = refresh(client, tokens[name])
            assert (answer.status_code, answer.json()["code"]) == (401, "session_revoked")
        for name in ("ended", "before", "kept"):
            assert refresh(client, tokens[name]).status_code == 200
    assert "Traceback" not in server.log.read_text()


def test_after_a_restore_by_the_readme_everybody_logs_in_again(
    own_mariadb: LocalDatabase, run: Run, tmp_path: Path
) -> None:
    """REQUIREMENTS 26: with the password of the dump."""
    with Server(own_mariadb.url, tmp_path) as server, client_of(server) as client:
        tokens = live_on(client, run)
        bearer = {"Authorization": f"Bearer {refresh(client, tokens['opened']).json()['token']}"}
        change = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
        client.put("/auth/password", json=change, headers=bearer).raise_for_status()
    run(RESTORE)
    with Server(own_mariadb.url, tmp_path) as server, client_of(server) as client:
        for token in tokens.values():
            answer = refresh(client, token)
            assert (answer.status_code, answer.json()["code"]) == (401, "session_revoked")
        assert login(client, NEW_PASSWORD).status_code == 401
        again = login(client)
        assert refresh(client, again.json()["refreshToken"]).status_code == 200
    assert "Traceback" not in server.log.read_text()
