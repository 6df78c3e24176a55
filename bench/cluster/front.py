"""A cluster as the service finds it: one address, behind which a node answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cluster.balancer import balancer
from bench.cluster.nodes import SEES_ALL, Cluster, cluster
from bench.servers import migrate


@dataclass(frozen=True, slots=True)
class Front:
    """The nodes behind a port of this machine."""

    cluster: Cluster
    port: int

    @property
    def url(self) -> str:
        return self.cluster.url("127.0.0.1", self.port)

    @property
    def socket(self) -> Path:
        return self.cluster.socket


@contextmanager
def front(folder: Path) -> Iterator[Front]:
    """A cluster with the schema, each of whose statements sees what was written before it, at whichever node."""
    with cluster(folder, f"--wsrep-sync-wait={SEES_ALL}") as made:
        made.nodes[0].ask("create user haproxy_check@'127.0.0.%'")
        migrate(made.url(made.nodes[0].address))
        with balancer() as port:
            yield Front(made, port)
