"""A MariaDB Galera Cluster on this machine: three servers, each on a loopback address of its own."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pymysql

from bench.database import Administrator
from bench.servers import ROOT
from service import mariadb
from service.mariadb import LocalDatabaseError

ADDRESSES = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
PORT = 3306
PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
_SCRIPTS = ROOT / ".venv" / "galera"  # those that copy a whole node, where the system has none
_TIMEOUT = 60  # seconds that a node may take to be a member
_OPTIONS = (
    "--skip-name-resolve",
    "--performance-schema=off",
    "--innodb-buffer-pool-size=128M",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-autoinc-lock-mode=2",
    "--binlog-format=ROW",
    "--max-connections=300",
    "--wsrep-on=ON",
    f"--wsrep-provider={PROVIDER}",
    "--wsrep-cluster-name=mstack-auth",
    "--wsrep-sst-method=rsync",
    "--wsrep-slave-threads=2",
)
# By default the others wait five seconds for a node that is silent; with them waits whoever asks. Who they are then,
# they agree on by messages that are sent again after a second, and by default begin anew after half of
# inactive_timeout.
_PROVIDER_OPTIONS = (
    "gcache.size=64M;evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT6S;"
    "evs.join_retrans_period=PT0.3S;evs.install_timeout=PT5S"
)
# The copy from node to node, by rsync's daemon, fails as root.
_USER = ("--user=nobody",) if os.geteuid() == 0 else ()
# What a write at one node has done, a statement at another sees: reads (1), updates and deletes (2), inserts (4).
SEES_ALL = 7


class Node:
    """One server. It joins whoever of the others is there, or begins a cluster of its own."""

    def __init__(self, address: str, folder: Path, options: Sequence[str]) -> None:
        self.address = address
        self._data = folder / address / "data"
        self.log = folder / address / "mariadb.log"
        self._scripts = folder / "scripts"
        self._options = options
        self._runtime = Path(tempfile.mkdtemp(prefix="mstack-auth-"))
        _give(self._runtime)
        self.socket = self._runtime / "mariadb.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, first: bool = False) -> None:
        """Returns when it is a member, as far on as the others. Raises LocalDatabaseError."""
        self.launch(first=first)
        deadline = time.monotonic() + _TIMEOUT
        while self.status("wsrep_local_state_comment") != "Synced":
            if not self.runs or time.monotonic() > deadline:
                raise LocalDatabaseError(f"the node {self.address} does not join: {self.log.read_text()[-1000:]}")
            time.sleep(0.1)

    def launch(self, *, first: bool = False) -> None:
        """Starts it, and does not wait."""
        if not self._data.exists():
            self._data.parent.mkdir()
            if first:
                mariadb.install(self._data, self._runtime)
            else:
                self._data.mkdir()
            _give(self._data.parent)
        command = self._command()
        position = self._recovered(command) if (self._data / "grastate.dat").exists() else []
        command += ["--wsrep-new-cluster"] if first else []
        command += [*position, f"--log-error={self.log}"]
        search = os.pathsep.join([str(self._scripts), os.environ["PATH"], "/usr/sbin"])
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "PATH": search},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """As kill -9 does."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Ends it cleanly."""
        if self._process and self.runs:
            self.thaw()
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def close(self) -> None:
        """Ends it, and whatever it has started; the data stay."""
        self.stop()
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # a copy of a whole node may be under way
        shutil.rmtree(self._runtime, ignore_errors=True)

    def ask(self, statement: str) -> tuple[tuple[Any, ...], ...]:
        """Runs one statement as the administrator. Raises MySQLError."""
        return Administrator(self.socket).ask(statement)

    def status(self, name: str) -> str:
        """What `show status` says, "" where the server does not answer."""
        try:
            [(_, value)] = self.ask(f"show global status like '{name}'")
        except (pymysql.MySQLError, ValueError):
            return ""
        return str(value)

    def _recovered(self, command: Sequence[str]) -> list[str]:
        """How far the data of a node that was killed have come: from there on the others send it what it missed."""
        log = self._runtime / "recovery.log"
        subprocess.run([*command, "--wsrep-recover", f"--log-error={log}"], stderr=subprocess.DEVNULL, check=True)
        [position] = re.findall(r"Recovered position:? *([0-9a-f-]+:\d+)", log.read_text())
        log.unlink()
        return [f"--wsrep-start-position={position}"]

    def _command(self) -> list[str]:
        own = f"gmcast.listen_addr=tcp://{self.address}:4567;ist.recv_addr={self.address}:4568;{_PROVIDER_OPTIONS}"
        return [
            mariadb.program("mariadbd", "mysqld"), "--no-defaults", *_USER,
            f"--datadir={self._data}", f"--socket={self.socket}", f"--tmpdir={self._runtime}",
            f"--bind-address={self.address}", f"--port={PORT}", f"--pid-file={self._runtime}/mariadb.pid",
            f"--wsrep-node-name={self.address}", f"--wsrep-node-address={self.address}",
            f"--wsrep-cluster-address=gcomm://{','.join(ADDRESSES)}",
            f"--wsrep-sst-receive-address={self.address}:4444", f"--wsrep-provider-options={own}",
            *_OPTIONS, *self._options,
        ]  # fmt: skip


def _give(folder: Path) -> None:
    """To the account of the server, with all that is in it."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, "nobody")


class Cluster:
    """Three nodes, and the account of the service on all of them."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self.nodes = [Node(address, folder, options) for address in ADDRESSES]
        self._password = secrets.token_hex(16)

    def start(self) -> None:
        """Raises LocalDatabaseError."""
        first, *others = self.nodes
        first.start(first=True)
        first.ask("create database auth")
        first.ask(f"create user auth@'127.0.0.%' identified by '{self._password}'")
        first.ask("grant all on auth.* to auth@'127.0.0.%'")
        for node in others:
            node.start()

    def url(self, host: str, port: int = PORT) -> str:
        """As DATABASE_URL takes it."""
        return f"mysql://auth:{self._password}@{host}:{port}/auth"

    def checksums(self) -> list[tuple[object, ...]]:
        """Of the tables at each node: the same, as soon as all have written what there is."""
        tables = "auth.users, auth.refresh_tokens, auth.revocations"
        return [tuple(row[1] for row in node.ask(f"checksum table {tables}")) for node in self.nodes]

    @property
    def socket(self) -> Path:
        """Of a node that may answer."""
        return next((node for node in self.nodes if node.status("wsrep_ready") == "ON"), self.nodes[0]).socket


@contextmanager
def cluster(folder: Path, *options: str) -> Iterator[Cluster]:
    """Runs a cluster whose data are in `folder`; `options` are mariadbd's. Raises LocalDatabaseError."""
    if not PROVIDER.exists():
        raise LocalDatabaseError("Galera is not installed: apt install galera-4 rsync (Debian, Ubuntu)")
    folder.chmod(0o711)  # the server's account has to pass, which it may not where the project lies
    if _SCRIPTS.exists():
        shutil.copytree(_SCRIPTS, folder / "scripts")
    made = Cluster(folder.resolve(), options)
    try:
        made.start()
        yield made
    finally:
        for node in made.nodes:
            node.close()
