"""What is counted and measured, for Prometheus; the only module that knows its client."""

import asyncio
import errno
import logging
import os
import platform
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from socketserver import BaseServer
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from service.release import version

RETRY_INTERVAL = 1  # seconds
# Seconds: a verify takes less than the first, a login a few hashes.
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Known from the start, so that an alert sees the first one: a rate needs a value before.
_ALERTING = {"login_succeeded", "login_failed", "login_throttled", "refresh_token_reused"}
_ALERTING |= {"database_error", "database_timeout"}
_BATCH = 0.05  # seconds; less than uvicorn waits before it ends a process
# Each with its meaning, and how the values of several workers become one; those of a dead one do not count.
_GAUGES = {
    "ready": ("Whether /readyz says 200: 1 or 0", "livemin"),
    "hash_queue_length": ("Hashes that wait for a thread", "livesum"),
    "hash_queue_limit": ("Hashes that may wait; one more is a 503", "livesum"),
    "hashes_running": ("Hashes that are computed", "livesum"),
    "pool_connections_in_use": ("Connections to the database that a statement or transaction holds", "livesum"),
    "pool_connections_limit": ("Connections to the database that there may be", "livesum"),
    "revocation_age_seconds": ("Since it was last known which sessions have ended; 0 when nobody asks", "livemax"),
    "revoked_sessions": ("Ended sessions that a process remembers", "livemax"),
    "rate_limit_storage_down": ("Whether attempts are not counted, as the Redis is away: 1 or 0", "livemax"),
    "keys_unusable": ("Whether the folder of the keys is, and the last good ring stays: 1 or 0", "livemax"),
    "sampled_timestamp_seconds": ("When a process last set the others, since 1970", "livemin"),
}

log = logging.getLogger(__name__)


class _EventCounter(logging.Handler):
    def __init__(self, events: Counter) -> None:
        super().__init__(logging.INFO)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg != "request":  # it has a histogram of its own
            self._events.labels(record.msg).inc()


class _Requests(Histogram):
    """Takes together what comes within _BATCH seconds, which is all that a process that is killed forgets."""

    def observe_soon(self) -> Callable[[float], None]:
        waiting: list[float] = []

        def observe(amount: float) -> None:
            if not waiting:
                asyncio.get_running_loop().call_later(_BATCH, self._observe_all, waiting)
            waiting.append(amount)

        return observe

    def _observe_all(self, waiting: list[float]) -> None:
        self._sum.inc(sum(waiting))
        for index, count in Counts([bisect_left(self._upper_bounds, amount) for amount in waiting]).items():
            self._buckets[index].inc(count)
        waiting.clear()


class _AllWorkers(Collector):
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()  # each scrape has a thread

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            for path in self._folder.glob("gauge_live*_*.db"):
                pid = int(path.stem.rpartition("_")[2])
                if not _is_alive(pid):
                    mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]  # it has no types
            # Not its collect(), which fails at the empty file of a worker that is just starting.
            files = [str(path) for path in self._folder.glob("*.db") if path.stat().st_size]
            return MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call,no-any-return]  # it has no types


class Metrics:
    """The metrics of one process; with a `folder`, of all processes that share it (PROMETHEUS_MULTIPROC_DIR)."""

    def __init__(self, folder: Path | None = None) -> None:
        own = CollectorRegistry()
        self._folder = folder
        self._served = CollectorRegistry() if folder else own
        if folder:
            self._served.register(_AllWorkers(folder))
        labels = ("method", "route", "status")
        self._requests = _Requests(
            "mstack_auth_request_duration_seconds", "How long requests took", labels, registry=own, buckets=_BUCKETS
        )
        self.observe_verify = self._requests.labels("GET", "/auth/verify", "200").observe_soon()
        wait = Histogram("mstack_auth_hash_wait_seconds", "Hashes: until a thread took them", registry=own)
        self.observe_hash_wait = wait.observe
        wait = Histogram("mstack_auth_pool_wait_seconds", "Until a connection was free", registry=own, buckets=_BUCKETS)
        self.observe_pool_wait = wait.observe
        self._gauges = {
            name: Gauge(f"mstack_auth_{name}", meaning, registry=own, multiprocess_mode=mode)  # type: ignore[arg-type]  # a str
            for name, (meaning, mode) in _GAUGES.items()
        }
        build = Gauge("mstack_auth_build_info", "1", ("version", "python"), registry=own, multiprocess_mode="livemax")
        build.labels(version(), platform.python_version()).set(1)
        events = Counter("mstack_auth_events", "What the log tells, by its event", ("event",), registry=own)
        for event in _ALERTING:
            events.labels(event)
        self._handler = _EventCounter(events)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Notes a request; method and route must be of few, whatever clients ask for."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def set(self, values: Mapping[str, float]) -> None:
        """Sets gauges by their names without the prefix."""
        for name, value in values.items():
            self._gauges[name].set(value)

    async def serve(self, host: str, port: int) -> None:
        """Answers scrapes for ever; while another worker has the port, asks for it again each second."""
        heard = logging.getLogger("service")
        heard.addHandler(self._handler)
        try:
            server = await self._bind(host, port)
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.to_thread(server.shutdown)
                server.server_close()
        finally:
            heard.removeHandler(self._handler)

    async def _bind(self, host: str, port: int) -> BaseServer:
        said = False
        while True:
            try:  # in a thread, since it asks for the host's name
                server, _ = await asyncio.to_thread(start_http_server, port, host, self._served)
            except OSError as error:
                is_taken = error.errno == errno.EADDRINUSE
                if not said and not (is_taken and self._folder):  # else a worker has it that serves for all
                    said = True
                    if is_taken:
                        hint = "several workers need PROMETHEUS_MULTIPROC_DIR"
                        log.warning("metrics_port_taken", extra={"hint": hint})
                    else:
                        log.warning("metrics_not_served", extra={"detail": str(error)})
                await asyncio.sleep(RETRY_INTERVAL)
            else:
                server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a scraper went away
                return server


def _is_alive(pid: int) -> bool:
    with suppress(OSError):  # there is none, or somebody else's has got the number
        os.kill(pid, 0)
        return True
    return False
