"""What a service holds while nobody asks it anything: connections to its database, open files, memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import resident_bytes

ROOM = 16_000_000  # bytes that a process may have grown by: what it remembers, and what its allocator keeps


@dataclass(frozen=True, slots=True)
class Usage:
    """Of all processes of a service together.

    `connections` are those to its database, `served` those that the database counts, `files` whatever else is open;
    `memory` is bytes.
    """

    connections: int
    served: int
    files: int
    memory: int
    processes: int


def usage(pids: Sequence[int], port: int, served: int = 0) -> Usage:
    """As it is now; `port` is where the service finds its database."""
    every = [each for pid in pids for each in tree(pid)]
    to_database = _sockets_to(port)
    links = [_target(link) for pid in every for link in Path(f"/proc/{pid}/fd").iterdir()]
    connections = sum(1 for link in links if link in to_database)
    return Usage(connections, served, len(links) - connections, sum(map(resident_bytes, every)), len(every))


def tree(pid: int) -> list[int]:
    """A process and those below it, but for such as end meanwhile."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(below for child in children for below in tree(int(child)))]


def command_of(pid: int) -> bytes:
    """What a process was started with; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def leaks(before: Usage, after: Usage, most_connections: int) -> list[str]:
    """What did not come back to where it was, in words."""
    found = []
    for count, whose in ((after.connections, "the service"), (after.served, "the database")):
        if count > most_connections:
            found.append(f"{whose} has {count} connections; the pools have {most_connections}")
    if after.files > before.files:
        found.append(f"{after.files} files are open; {before.files} were before")
    if after.memory > before.memory + ROOM * after.processes:
        found.append(f"{after.memory / 1e6:.0f} MB; {before.memory / 1e6:.0f} before")
    return found


def _sockets_to(port: int) -> set[str]:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{port:04X}")}


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""
