"""Ctrl-C, SIGTERM and a closed terminal: everything that was started ends, and the exit code says which it was."""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

# Ctrl-C, a supervisor, a closed terminal; but for the last where nohup wants it not to be heard.
_STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    _STOPS.remove(signal.SIGHUP)
_Action = Callable[[int, FrameType | None], NoReturn] | signal.Handlers


def stoppable(main: Callable[[], int]) -> int:
    """Runs `main`. At a signal it is left through every `with`, and SystemExit is raised with 128 and its number."""
    _at_a_signal(_leave)
    try:
        return main()
    finally:
        _at_a_signal(signal.SIG_IGN)
        _end_children()


def _at_a_signal(action: _Action) -> None:
    for number in _STOPS:
        signal.signal(number, action)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    _at_a_signal(signal.SIG_IGN)  # one is enough: the ending takes a moment, and must not be cut short
    with suppress(OSError):  # the terminal is gone
        os.write(2, b"\nbench: ending what was started\n")
    raise SystemExit(128 + number)


def _end_children() -> None:
    """A signal that comes while a process is being started leaves one that no `with` knows."""
    with subprocess.Popen(["ps", "-axo", "pid=,ppid=,pgid="], stdout=subprocess.PIPE, text=True) as ps:
        listed = [[int(number) for number in line.split()] for line in ps.communicate()[0].splitlines()]
    for pid, parent, group in listed:
        if parent == os.getpid() and pid != ps.pid:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL) if group == pid else os.kill(pid, signal.SIGKILL)
