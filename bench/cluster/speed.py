"""Refreshes a second at one node, by how many nodes the cluster has."""

from collections.abc import Iterator
from pathlib import Path

from bench.cluster.nodes import SEES_ALL, Cluster
from bench.plan import OURS, THEIRS, Figure
from bench.processes import await_rest
from bench.seed import SECRET, seed
from bench.servers import SERVICE, Server
from bench.wrk import Load, wrk

USERS, SESSIONS = 200, 20_000


def speed(cluster: Cluster, folder: Path, *, rounds: int, seconds: int) -> Iterator[Figure]:
    """Of clients that stay and of those that rotate: two nodes, and three, of one."""
    node = cluster.nodes[0]
    url = cluster.url(node.address)
    seed(url, folder, users=USERS, sessions=SESSIONS)
    fresh = _fresh_sessions(folder)

    def measure(mode: str) -> Load:
        with Server(SERVICE, OURS, {"DATABASE_URL": url, "JWT_SECRET": SECRET, "RATE_LIMITS": "off"}) as service:
            for length in (1, seconds):
                file = folder / "refresh-stay" if mode == "stay" else next(fresh)
                load = wrk(service.url, mode, file, seconds=length, connections=64, cores=THEIRS)
        return load

    for _ in range(rounds):
        loads: dict[tuple[str, int], Load] = {}
        for members in (3, 2, 1):
            for other in cluster.nodes[members:]:
                other.stop()
            # A node alone has no other's writes to see.
            node.ask(f"set global wsrep_sync_wait = {SEES_ALL if members > 1 else 0}")
            await_rest(node.pid)
            for mode in ("stay", "rotate"):
                loads[mode, members] = measure(mode)
        node.ask(f"set global wsrep_sync_wait = {SEES_ALL}")
        for other in cluster.nodes[1:]:
            other.start()
        for mode, doing in (("stay", "staying"), ("rotate", "rotating")):
            alone = loads[mode, 1]
            for members in (2, 3):
                load = loads[mode, members].with_failures_of(alone)
                yield Figure(f"{doing}, {members} nodes", load.per_second, "/s", alone.per_second, load)


def _fresh_sessions(folder: Path) -> Iterator[Path]:
    """Splits the refresh tokens: those that stay into one file, the others into slices, each to be used once."""
    lines = (folder / "refresh").read_text().splitlines(keepends=True)
    middle, slice_size = len(lines) // 2, 250
    (folder / "refresh-stay").write_text("".join(lines[:middle]))

    def slices() -> Iterator[Path]:
        for start in range(middle, len(lines), slice_size):
            path = folder / f"refresh-{start}"
            path.write_text("".join(lines[start : start + slice_size]))
            yield path

    return slices()
