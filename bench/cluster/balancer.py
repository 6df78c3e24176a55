"""HAProxy before the nodes, with the very file that an operator copies."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.servers import ROOT
from service.localdb import free_port
from service.mariadb import LocalDatabaseError

FILE = ROOT / "service" / "deploy" / "galera.cfg"
_BIND = "127.0.0.1:3307"
_SETTLED = 2  # seconds until it has asked each node twice


@contextmanager
def balancer() -> Iterator[int]:
    """The port on which HAProxy passes connections on to a node."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "haproxy.cfg"
        file.write_text(FILE.read_text().replace(_BIND, f"127.0.0.1:{port}"))
        program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
        if not program:
            raise LocalDatabaseError("HAProxy is not installed: apt install haproxy (Debian, Ubuntu)")
        command = [program, "-db", "-q", "-f", str(file)]
        with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
            try:
                time.sleep(_SETTLED)
                if process.poll() is not None:
                    raise LocalDatabaseError(f"HAProxy does not start with {FILE}")
                yield port
            finally:
                process.terminate()
