"""HAProxy before the nodes, with the very file that an operator copies."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.servers import ROOT
from service import mariadb
from service.localdb import free_port

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
        command = [mariadb.program("haproxy"), "-db", "-q", "-f", str(file)]
        with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
            try:
                time.sleep(_SETTLED)
                yield port
            finally:
                process.terminate()
