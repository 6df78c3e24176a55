"""What a process uses, as Linux's /proc says, and what it may open."""

import os
import resource
import sys
import time
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")  # a second


def cpu_seconds(pid: int) -> float:
    """Time on a core, user and system, of a process with those below it; only such as are alive now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / _TICKS + sum(cpu_seconds(int(child)) for child in children)


def await_rest(pid: int) -> None:
    """Returns when a process and those below it have nothing to do; after 20 seconds it exits with one line."""
    deadline, used = time.monotonic() + 20, -1.0
    while cpu_seconds(pid) - used > 1 / _TICKS:
        if time.monotonic() > deadline:
            sys.exit(f"bench: process {pid} does not come to rest: is the machine busy with something else?")
        used = cpu_seconds(pid)
        time.sleep(0.3)


def resident_bytes(pid: int) -> int:
    """Memory of a process, without those below it."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def allow_open_files(count: int) -> None:
    """Lets this process, and those that it starts from now on, have so many files open; or exits with one line."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        sys.exit(f"bench: {count} files have to be open at once, and the hard limit is {hard}: raise it (ulimit -Hn)")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
