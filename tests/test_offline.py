"""Verifying without asking us, with the two programs that the README prints: PyJWT, and jose on Node.

They share no code with the service. Their caches are on, but for 2 seconds instead of 5 and 10 minutes, and half a
second instead of 30 between two questions for a `kid` that they don't know.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from service.keys import KeyRing, private_key
from service.localdb import LocalDatabase
from service.tokens import Tokens
from tests.operators import Operator
from tests.server import NO_TLS, ROOT, Server, claims_of
from tests.signers import b64, dump, sign_by_hmac
from tests.test_readme import blocks

NODE = ROOT / ".venv" / "node"
JWKS = "/.well-known/jwks.json"
PASSWORD = "correct horse battery"
User = str | None
Verifiers = dict[str, Callable[[str], User]]  # the user of a token that is believed


def program(language: str, url: str, algorithm: str) -> str:
    [text] = [text for name, text in blocks("Keys") if name == language]
    return text.replace("http://localhost:5000", url).replace('"ES256"', f'"{algorithm}"')


def by_pyjwt(url: str, algorithm: str) -> Callable[[str], User]:
    text = program("python", url, algorithm)
    short = text.replace('jwks.json")', 'jwks.json", lifespan=2, cooldown_duration=0.5)')
    assert short != text
    names: dict[str, Any] = {}
    exec(short, names)

    def verify(token: str) -> User:
        try:
            user: str = names["user_of"](token)
        except jwt.PyJWTError:
            return None
        return user

    return verify


@contextmanager
def by_jose(url: str, algorithm: str) -> Iterator[Callable[[str], User]]:
    text = program("js", url, algorithm)
    short = text.replace('jwks.json"))', 'jwks.json"), { cacheMaxAge: 2000, cooldownDuration: 500 })')
    assert short != text
    command = ["node", "--input-type=module", "--eval", short + (ROOT / "tests" / "offline.mjs").read_text()]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=NODE, stdin=pipe, stdout=pipe, text=True, bufsize=1) as node:

        def verify(token: str) -> User:
            assert node.stdin
            assert node.stdout
            node.stdin.write(token + "\n")
            answer = node.stdout.readline().strip()
            assert answer, "node has ended"
            return None if answer.startswith("refused: ") else answer

        try:
            yield verify
        finally:
            node.terminate()


def by_us(url: str) -> Callable[[str], User]:
    def verify(token: str) -> User:
        answer = httpx.get(f"{url}/auth/verify", headers={"Authorization": f"Bearer {token}"}, verify=NO_TLS)
        return str(claims_of(token)["sub"]) if answer.json()["valid"] else None

    return verify


@contextmanager
def verifiers(url: str, algorithm: str) -> Iterator[Verifiers]:
    with by_jose(url, algorithm) as jose:
        yield {"PyJWT": by_pyjwt(url, algorithm), "jose": jose, "the service": by_us(url)}


def believers(all_of_them: Verifiers, token: str) -> set[str]:
    """Who takes a token for one of its user."""
    found = {name: verify(token) for name, verify in all_of_them.items()}
    assert set(found.values()) <= {None, claims_of(token)["sub"]}
    return {name for name, user in found.items() if user}


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def log_in(server: Server, name: str = "offline-ada") -> dict[str, str]:
    credentials = {"username": name, "password": PASSWORD}
    with httpx.Client(base_url=server.url, verify=NO_TLS) as client:
        client.post("/auth/signup", json=credentials)
        pair: dict[str, str] = client.post("/auth/login", json=credentials).json()
    return pair


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def fetches(server: Server) -> int:
    return server.log.read_text().count(JWKS)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_others_believe_our_access_tokens_and_nothing_else(
    mariadb: LocalDatabase, tmp_path: Path, algorithm: str
) -> None:
    """REQUIREMENTS 1, 2, 11, 13: as the README's programs are written."""
    operator = Operator(tmp_path / "keys", JWT_ALGORITHM=algorithm)
    kid = operator.run("new")
    pem = (operator.folder / f"{kid}.pem").read_bytes()
    settings = {"JWT_ALGORITHM": algorithm, "JWT_KEYS": str(operator.folder)}
    with Server(mariadb.url, tmp_path, **settings) as server, verifiers(server.url, algorithm) as everybody:
        pair = log_in(server, f"offline-{algorithm.lower()}")
        assert believers(everybody, pair["token"]) == set(everybody)
        before = fetches(server)
        for _ in range(50):
            assert everybody["PyJWT"](pair["token"]) == everybody["jose"](pair["token"]) is not None
        assert fetches(server) - before <= 4, "they keep the set"
        header, payload, signature = pair["token"].split(".")
        expired = Tokens(KeyRing(private_key(pem)), access_lifetime=1)
        [public] = httpx.get(server.url + JWKS).json()["keys"]
        forged = [
            pair["refreshToken"],
            expired.issue_access(user_id="u", username="ada", session_id="s", now=int(time.time()) - 2),
            f"{header}.{payload}.{signature[:-8]}AAAAAAAA",
            f"{b64(dump({'alg': 'none', 'typ': 'JWT'}))}.{payload}.",
            sign_by_hmac(dump(public), {"alg": "HS256", "kid": kid, "typ": "JWT"}, claims_of(pair["token"])),
        ]
        for token in forged:
            assert believers(everybody, token) == set()


def test_others_follow_a_whole_rotation(mariadb: LocalDatabase, tmp_path: Path) -> None:
    """What is shown of time: that a step is refused too early. The waiting itself is cut short by --force."""
    operator = Operator(tmp_path / "keys", JWT_ALGORITHM="ES256")
    first = operator.run("new")
    pem = (operator.folder / f"{first}.pem").read_bytes()
    settings = {"JWT_ALGORITHM": "ES256", "JWT_KEYS": str(operator.folder)}
    with Server(mariadb.url, tmp_path, **settings) as server, verifiers(server.url, "ES256") as everybody:
        before = log_in(server)
        assert kid_of(before["token"]) == first
        assert believers(everybody, before["token"]) == set(everybody)

        second = operator.run("new")
        operator.run("activate", second, code=1)
        until(lambda: second in httpx.get(server.url + JWKS, verify=NO_TLS).text)
        assert kid_of(log_in(server)["token"]) == first
        operator.run("activate", second, "--force")
        until(lambda: kid_of(log_in(server)["token"]) == second)
        after = log_in(server)
        assert believers(everybody, after["token"]) == set(everybody)
        assert believers(everybody, before["token"]) == set(everybody)
        renewed = httpx.post(f"{server.url}/auth/refresh", json={"refreshToken": before["refreshToken"]}).json()
        assert kid_of(renewed["refreshToken"]) == second

        operator.run("retire", first, code=1)
        operator.run("retire", first, "--force")
        until(lambda: believers(everybody, before["token"]) == set())
        fresh = Tokens(KeyRing(private_key(pem)), access_lifetime=300)
        stolen = fresh.issue_access(user_id="u", username="ada", session_id="s", now=int(time.time()))
        assert believers(everybody, stolen) == set()
        for pair in (after, renewed):
            assert believers(everybody, pair["token"]) == set(everybody)
        refused = httpx.post(f"{server.url}/auth/refresh", json={"refreshToken": before["refreshToken"]})
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
