"""Gateways as an operator runs them: the very files of service/deploy, on ports and with a certificate of their own."""

import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx

from service.localdb import free_port
from tests.certificates import Certificates
from tests.server import ROOT

DEPLOY = ROOT / "service" / "deploy"
Requests = list[list[tuple[str, str]]]


@contextmanager
def echoing_app() -> Iterator[tuple[int, Requests]]:
    """An app that answers the headers that reached it, as JSON; its port, and what it was sent so far."""
    seen: Requests = []

    class Echo(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms

        def handle(self) -> None:
            with suppress(ConnectionResetError):  # as HAProxy ends a connection that it does not need any more
                super().handle()

        def do_GET(self) -> None:  # as http.server wants it
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            if "Transfer-Encoding" in self.headers:  # left unread, it resets the connection, maybe too soon
                while size := int(self.rfile.readline(), 16):
                    self.rfile.read(size + 2)
                while self.rfile.readline().strip():
                    pass
            seen.append([(name.lower(), value) for name, value in self.headers.items()])
            body = json.dumps(seen[-1]).encode()
            self.send_response(500 if self.path == "/broken" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_HEAD = do_OPTIONS = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as http:
        thread = Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield http.server_port, seen
        finally:
            http.shutdown()
            thread.join()


@dataclass
class Gateway:
    """A running one, and a way to speak to it."""

    url: str
    plain_url: str
    ca: Path
    log: Path

    def client(self) -> httpx.Client:
        trust = ssl.create_default_context(cafile=str(self.ca))
        return httpx.Client(base_url=self.url, verify=trust, timeout=20)


def filled(name: str, values: Mapping[str, str]) -> str:
    """A file of service/deploy with its marked values replaced; each must be there."""
    text = (DEPLOY / name).read_text()
    for old, new in values.items():
        assert old in text, f"{name} has no {old}"
        text = text.replace(old, new)
    return text


@dataclass(frozen=True)
class _Place:
    """What one gateway of a test is given: a folder, four ports, a certificate and its key."""

    folder: Path
    auth: int
    app: int
    tls: int
    plain: int
    certificate: Path
    key: Path

    @property
    def backends(self) -> dict[str, str]:
        return {"127.0.0.1:5000": f"127.0.0.1:{self.auth}", "127.0.0.1:8000": f"127.0.0.1:{self.app}"}


def _program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
    assert found, f"{name} is not installed: .ci/provision {name}"
    return found


def _nginx(place: _Place) -> list[str]:
    values = place.backends | {
        "listen 80;": f"listen 127.0.0.1:{place.plain};",
        "listen 443 ssl": f"listen 127.0.0.1:{place.tls} ssl",
        "/etc/ssl/app.example.pem": str(place.certificate),
        "/etc/ssl/app.example.key": str(place.key),
        "app.example": "localhost",
    }
    (place.folder / "mstack-auth.conf").write_text(filled("nginx.conf", values))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {place.folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""  # so that it may use the folder, which is ours alone
    (place.folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {place.folder}/pid; error_log stderr notice; events {{}}\n"
        f"http {{ access_log off; {temporary} include {place.folder}/mstack-auth.conf; }}\n"
    )
    return [_program("nginx"), "-c", str(place.folder / "nginx.conf"), "-e", "stderr"]


def _caddy(place: _Place) -> list[str]:
    values = place.backends | {
        "/etc/ssl/app.example.pem": str(place.certificate),
        "/etc/ssl/app.example.key": str(place.key),
        "app.example": "localhost",
    }
    (place.folder / "Caddyfile").write_text(filled("Caddyfile", values))
    ports = [f"HTTP_PORT={place.plain}", f"HTTPS_PORT={place.tls}", "CADDY_ADMIN=off"]
    run = [_program("caddy"), "run", "--config", str(place.folder / "Caddyfile"), "--adapter", "caddyfile"]
    return [_program("env"), *ports, f"XDG_DATA_HOME={place.folder}", f"XDG_CONFIG_HOME={place.folder}", *run]


def _haproxy(place: _Place) -> list[str]:
    both = place.folder / "both.pem"
    both.write_bytes(place.certificate.read_bytes() + place.key.read_bytes())
    values = place.backends | {
        "bind :80": f"bind 127.0.0.1:{place.plain}",
        "bind :443": f"bind 127.0.0.1:{place.tls}",
        "/etc/ssl/app.example.pem": str(both),
        "/etc/haproxy/auth.lua": str(place.folder / "auth.lua"),
    }
    (place.folder / "haproxy.cfg").write_text(filled("haproxy.cfg", values))
    (place.folder / "auth.lua").write_text(filled("auth.lua", {"127.0.0.1:5000": f"127.0.0.1:{place.auth}"}))
    return [_program("haproxy"), "-db", "-f", str(place.folder / "haproxy.cfg")]


_COMMANDS: dict[str, Callable[[_Place], list[str]]] = {"nginx": _nginx, "caddy": _caddy, "haproxy": _haproxy}
KINDS = list(_COMMANDS)


@contextmanager
def gateway(kind: str, folder: Path, *, auth: int, app: int) -> Iterator[Gateway]:
    """A gateway of a kind, in front of a service and an app on loopback ports."""
    folder.mkdir()
    certificates = Certificates(folder / "tls")
    certificate, key = certificates.issue("localhost", "127.0.0.1")
    log = folder / "log"
    for _ in range(5):
        place = _Place(folder, auth, app, free_port(), free_port(), certificate, key)
        command = _COMMANDS[kind](place)
        with log.open("a") as output:
            process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        running = Gateway(f"https://localhost:{place.tls}", f"http://localhost:{place.plain}", certificates.ca, log)
        try:
            if _answers(running, process):
                yield running
                return
        finally:
            process.terminate()
            process.wait(20)
    raise AssertionError(log.read_text())


def _answers(running: Gateway, process: subprocess.Popen[bytes]) -> bool:
    """Waits until a gateway answers; False if its process ended instead."""
    deadline = time.monotonic() + 20
    with running.client() as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.get("/")
            except httpx.TransportError:
                time.sleep(0.02)
            else:
                return True
    return False
