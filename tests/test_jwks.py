"""`GET /.well-known/jwks.json`, over HTTP, and the service that takes over what changes in the folder."""

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from service.localdb import LocalDatabase
from service.settings import KeySettings
from tests.conftest import StartClient
from tests.server import ROOT, SECRET, TOOLS, Server, untraced
from tests.signers import ES256, RS256

PATH = "/.well-known/jwks.json"


def put(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for mode in (ES256, RS256):
        if mode.algorithm in names:
            (folder / f"{mode.key.kid}.pem").write_bytes(mode.pem)
    return folder


async def test_the_set_is_empty_where_secrets_sign(client: httpx.AsyncClient) -> None:
    answer = await client.get(PATH)
    assert (answer.status_code, answer.content) == (200, b'{"keys":[]}')


async def test_the_set_may_be_kept_and_says_for_how_long(start: StartClient, tmp_path: Path) -> None:
    """RFC 9111 §5.2.2.1: one Cache-Control, the rotation's own; all other headers as everywhere."""
    keys = KeySettings(jwt_algorithm="ES256", jwt_keys=put(tmp_path / "keys", "ES256"), jwks_max_age=1234)
    async with start(keys=keys) as client:
        answer, crossing = await client.get(PATH), await client.get(PATH, headers={"Origin": "https://app.example"})
        refused = await client.post(PATH)
        missing = await client.get("/.well-known/jwks")
    assert answer.headers.get_list("cache-control") == ["public, max-age=1234"]
    for each in (answer, crossing):
        assert each.headers.get_list("vary") == ["Origin"], "whoever keeps it must not give it to another origin"
    assert answer.headers.get_list("content-type") == ["application/json"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"]
    assert answer.json() == {"keys": [ES256.key.jwk]}
    for other, status in ((refused, 405), (missing, 404)):
        assert (other.status_code, other.headers.get_list("cache-control")) == (status, ["no-store"])


async def test_keys_are_published_before_they_sign(start: StartClient, tmp_path: Path) -> None:
    """JWT_KEYS under HS256: what processes will sign with one after the other, each of them knows already."""
    secret = SECRET.encode()
    async with start(keys=KeySettings(jwt_secret=secret, jwt_keys=put(tmp_path / "k", "ES256", "RS256"))) as client:
        found = (await client.get(PATH)).json()["keys"]
    assert {key["alg"] for key in found} == {"ES256", "RS256"}
    for key in found:
        assert not set(key) & {"d", "p", "q", "dp", "dq", "qi", "k"}


async def test_a_page_of_a_listed_origin_may_read_it(start: StartClient) -> None:
    """REQUIREMENTS 60."""
    async with start(cors_origins=("https://app.example",)) as client:
        for origin, allowed in (("https://app.example", "https://app.example"), ("https://evil.example", None)):
            answer = await client.get(PATH, headers={"Origin": origin})
            assert answer.status_code == 200
            assert answer.headers.get("access-control-allow-origin") == allowed


@pytest.mark.parametrize(
    ("is_there", "algorithm", "line"), [(True, "ES256", "no key signs"), (False, "HS256", "No such file or directory")]
)
def test_the_service_exits_with_one_line_when_nothing_can_sign(
    tmp_path: Path, is_there: bool, algorithm: str, line: str
) -> None:
    folder = tmp_path / "keys"
    if is_there:
        folder.mkdir()
    settings = {"DATABASE_URL": "mysql://a:b@127.0.0.1:1/c", "JWT_SECRET": SECRET, "JWT_ALGORITHM": algorithm}
    done = subprocess.run(
        [str(TOOLS / "uvicorn"), "--factory", "service.app:create_app", "--port", "0"],
        cwd=ROOT,
        env=untraced(**settings, JWT_KEYS=str(folder)),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 3, output
    assert output.startswith(f"mstack-auth: JWT_KEYS: {folder}: ")
    assert line in output
    assert output.count("\n") == 1


async def test_every_worker_takes_over_a_change_within_seconds(mariadb: LocalDatabase, tmp_path: Path) -> None:
    """Both of two, without a restart, and each says so once in the log."""
    folder = put(tmp_path / "keys", "ES256")
    settings = {"JWT_ALGORITHM": "ES256", "JWT_KEYS": str(folder)}
    with Server(mariadb.url, tmp_path, "--workers", "2", **settings) as server:
        await server.logs("Application startup complete", times=2)
        started = server.log.read_text()
        put(folder, "RS256")
        (folder / "ring.json").write_text(json.dumps({"signing": ES256.key.kid, "keys": {}}))
        await server.logs('"keys_changed"', times=2)
        async with server.client() as client:
            for _ in range(8):
                answer = await client.get(PATH, headers={"Connection": "close"})
                assert [key["kid"] for key in answer.json()["keys"]] == [ES256.key.kid, RS256.key.kid]
        (folder / f"{RS256.key.kid}.pem").write_bytes(RS256.pem[:200])
        await server.logs('"keys_unusable"', times=2)
        answer = httpx.get(server.url + PATH)
        assert len(answer.json()["keys"]) == 2
    assert "keys_changed" not in started
