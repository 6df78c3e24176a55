"""TLS to the database: only with the server that its certificate proves, and never in plain text instead."""

import asyncio
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from service.address import DatabaseAddress
from service.environment import InvalidSetting
from service.localdb import LocalDatabase
from tests.certificates import Certificates
from tests.conftest import PASSWORD
from tests.data import a_copy
from tests.server import ROOT, TOOLS, Server, untraced
from tests.test_database_faults import as_root
from tests.test_readme import README

CLIENT_SSL = 1 << 11  # a capability, in the protocol's greeting
VERIFIED = "ssl_verify_cert=true&ssl_verify_identity=true"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def mariadb_with_tls(
    new_data: Path, authority: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalDatabase]:
    """A server that proves to be 127.0.0.1, whose account may not be used in plain text."""
    certificate, key = authority.issue("127.0.0.1")
    options = (f"--ssl-ca={authority.ca}", f"--ssl-cert={certificate}", f"--ssl-key={key}")
    with a_copy(new_data, tmp_path_factory.mktemp("mariadb-tls"), *options) as mariadb:
        as_root(mariadb, "alter user auth@127.0.0.1 require ssl")
        yield mariadb


def over_tls(url: str, ca: Path, more: str = "", **changes: object) -> str:
    """A DATABASE_URL with TLS; `changes` are of its host and port."""
    parts = urlsplit(url)
    host, port = changes.get("host", parts.hostname), changes.get("port", parts.port)
    netloc = f"{parts.username}:{parts.password}@{host}:{port}"
    return f"mysql://{netloc}{parts.path}?ssl_ca={ca}&{VERIFIED}{more}"


def sign_up(server: Server, name: str) -> tuple[int, str | None]:
    answer = httpx.post(f"{server.url}/auth/signup", json={"username": name, "password": PASSWORD}, timeout=20)
    return answer.status_code, answer.json().get("code")


def yoyo(url: str) -> subprocess.CompletedProcess[str]:
    command = [str(TOOLS / "yoyo"), "list"]
    env = untraced(DATABASE_URL=url)
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_the_service_and_yoyo_speak_tls_by_the_same_url(
    mariadb_with_tls: LocalDatabase, authority: Certificates, tmp_path: Path, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 65: to an account that plain text can't use."""
    url = over_tls(mariadb_with_tls.url, authority.ca)
    with Server(url, tmp_path) as server:
        assert sign_up(server, new_name()) == (200, None)
    assert "database_without_tls" not in server.log.read_text()
    assert yoyo(url).returncode == 0
    assert yoyo(mariadb_with_tls.url).returncode != 0
    with Server(mariadb_with_tls.url, tmp_path) as server:
        assert sign_up(server, new_name()) == (503, "database_unavailable")


def test_the_address_in_the_readme_is_one_with_tls(authority: Certificates) -> None:
    [printed] = re.findall(r"^mysql://\S+ssl_ca=\S+$", README, re.MULTILINE)
    address = DatabaseAddress.from_url(printed.replace("/etc/mstack-auth/ca.pem", str(authority.ca)))
    assert address.tls is not None
    assert (address.tls.verify_mode, address.tls.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_certificate_of_our_own_is_shown_to_a_server_that_asks_for_it(
    mariadb_with_tls: LocalDatabase, authority: Certificates, tmp_path: Path, new_name: Callable[[], str]
) -> None:
    certificate, key = authority.issue("mstack-auth")
    as_root(mariadb_with_tls, "alter user auth@127.0.0.1 require x509")
    try:
        for more, status in ((f"&ssl_cert={certificate}&ssl_key={key}", 200), ("", 503)):
            with Server(over_tls(mariadb_with_tls.url, authority.ca, more), tmp_path) as server:
                assert sign_up(server, new_name())[0] == status
    finally:
        as_root(mariadb_with_tls, "alter user auth@127.0.0.1 require ssl")


def assert_refused(server: Server, why: str, name: str) -> None:
    assert sign_up(server, name) == (503, "database_unavailable")
    log = server.log.read_text()
    assert why in log
    assert '"number":2026' in log
    assert "Traceback" not in log


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(authority: Certificates, tmp_path: Path) -> None:
    certificate, secret = authority.issue("us")
    key = load_pem_private_key(secret.read_bytes(), password=None)
    protected = tmp_path / "protected.key"
    protected.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw")))
    files = f"ssl_ca={authority.ca}&ssl_cert={certificate}&ssl_key={protected}"
    with pytest.raises(InvalidSetting, match="names files for TLS that cannot be used: the key has a password"):
        DatabaseAddress.from_url(f"mysql://auth@db/app?{files}&{VERIFIED}")


def test_a_server_of_another_authority_is_refused(
    mariadb_with_tls: LocalDatabase, tmp_path: Path, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 65: by yoyo too."""
    url = over_tls(mariadb_with_tls.url, Certificates(tmp_path / "other", "another").ca)
    with Server(url, tmp_path) as server:
        assert_refused(server, "certificate verify failed", new_name())
    assert "certificate verify failed" in yoyo(url).stderr


def test_a_server_that_is_another_host_is_refused(
    mariadb_with_tls: LocalDatabase, authority: Certificates, tmp_path: Path, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 65: by yoyo too."""
    url = over_tls(mariadb_with_tls.url, authority.ca, host="localhost")
    with Server(url, tmp_path) as server:
        assert_refused(server, "Hostname mismatch", new_name())
    assert "Hostname mismatch" in yoyo(url).stderr


def test_a_server_without_tls_is_refused(
    own_mariadb: LocalDatabase, authority: Certificates, tmp_path: Path, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 65."""
    own_mariadb.stop()
    own_mariadb.options = ("--skip-ssl",)  # MariaDB, from 11.4 on, offers it unasked
    own_mariadb.start()
    with Server(over_tls(own_mariadb.url, authority.ca), tmp_path) as server:
        assert_refused(server, "the server offers no TLS", new_name())


@asynccontextmanager
async def without_the_offer(port: int) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Stands before the database, takes the offer of TLS out of its greeting, and keeps what clients say to that."""
    said: list[bytes] = []
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        database, to_database = await asyncio.open_connection("127.0.0.1", port)
        greeting = bytearray(await database.read(1024))
        flags = greeting.index(b"\0", 5) + 14  # after the version: connection id, half of the salt, a zero
        offered = int.from_bytes(greeting[flags : flags + 2], "little")
        assert offered & CLIENT_SSL
        greeting[flags : flags + 2] = (offered & ~CLIENT_SSL).to_bytes(2, "little")
        writer.write(greeting)
        while data := await reader.read(1024):
            said.append(data)
        for each in (writer, to_database):
            each.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(serve(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as proxy:
        yield proxy.sockets[0].getsockname()[1], said
        await asyncio.gather(*tasks)
        assert tasks


async def test_who_removes_the_offer_of_tls_hears_nothing_at_all(
    mariadb_with_tls: LocalDatabase, authority: Certificates, tmp_path: Path, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 65: not even a name, and no answer to a challenge."""
    async with without_the_offer(mariadb_with_tls.port) as (port, said):
        with Server(over_tls(mariadb_with_tls.url, authority.ca, port=port), tmp_path) as server:
            await asyncio.to_thread(assert_refused, server, "the server offers no TLS", new_name())
    assert said == []


def test_a_database_elsewhere_without_tls_is_warned_of_once(tmp_path: Path) -> None:
    """REQUIREMENTS 65: at the start, whether or not the database can be reached."""
    with Server("mysql://auth:hidden-word@database.invalid/auth", tmp_path) as server:
        pass
    assert server.log.read_text().count("database_without_tls") == 1
    assert "hidden-word" not in server.log.read_text()
