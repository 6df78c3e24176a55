"""The end of a process: it says that it goes before it goes, and goes with exit code 0."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

LONGEST_GOODBYE = 2  # seconds

log = logging.getLogger(__name__)


class Shutdown:
    """Lets a SIGTERM reach uvicorn, which closes its socket at once, only after `delay` seconds.

    Meanwhile readiness says that this process is stopping, so that a load balancer sends its clients elsewhere, and
    whoever comes nevertheless is served. A second SIGTERM, or a SIGINT, is not delayed.
    """

    def __init__(self, delay: float) -> None:
        self.stopping = False
        self._delay = delay
        self._hand_on: Callable[[int, FrameType | None], None] | None = None

    def install(self) -> None:
        """Takes the place of uvicorn's handler, where there is one: inside another program signals are left alone."""
        handler = signal.getsignal(signal.SIGTERM)
        if (
            threading.current_thread() is threading.main_thread()
            and callable(handler)
            and isinstance(getattr(handler, "__self__", None), uvicorn.Server)
        ):
            self._hand_on = handler
            signal.signal(signal.SIGTERM, self._on_signal)

    def finish(self) -> None:
        """Lets a SIGTERM that uvicorn served end the process with exit code 0.

        uvicorn raises the signal again once it has stopped, to die of it; held back, it changes nothing any more.
        """
        if self._hand_on:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        if self.stopping and "uvicorn" in Path(sys.argv[0]).parts[-2:]:  # and not a program with uvicorn inside
            # Python would wait for threads, one of which may hang at a name server or at a folder.
            last = threading.Timer(LONGEST_GOODBYE, os._exit, [0])
            last.daemon = True
            last.start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        assert self._hand_on
        is_repeated, self.stopping = self.stopping, True
        if is_repeated or not self._delay:
            self._hand_on(number, frame)
        else:  # the loop may be in the middle of its own timers
            asyncio.get_running_loop().call_soon_threadsafe(self._wait, number)

    def _wait(self, number: int) -> None:
        assert self._hand_on
        log.info("stopping", extra={"seconds": self._delay})
        asyncio.get_running_loop().call_later(self._delay, self._hand_on, number, None)
