"""The loads that any service with this contract can take, ours or another, and two of them in turn."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from bench.plan import BOTH, Figure
from bench.remote import Remote
from bench.wrk import Load, wrk

CONNECTIONS = 32


def verify_distinct(remote: Remote, seconds: int) -> Load:
    """More tokens in turn than the service remembers; fetched anew, since they may live for minutes only."""
    return wrk(remote.url, "verify", remote.access_tokens(remote.tokens), seconds=seconds, cores=BOTH)


def verify_one(remote: Remote, seconds: int) -> Load:
    """One token, again and again."""
    return wrk(remote.url, "verify", remote.access_tokens(1), seconds=seconds, cores=BOTH)


def refresh_staying(remote: Remote, seconds: int) -> Load:
    """Clients that never read the new refresh token."""
    return wrk(remote.url, "stay", remote.staying, seconds=seconds, connections=CONNECTIONS, cores=BOTH)


def refresh_rotating(remote: Remote, seconds: int) -> Load:
    """Clients that go on with the token they were answered, which may be the one they had."""
    mode = "rotate" if remote.rotates else "stay"
    return wrk(remote.url, mode, remote.fresh_sessions(), seconds=seconds, connections=CONNECTIONS, cores=BOTH)


def login(remote: Remote, seconds: int) -> Load:
    """Eight clients, for four times the time: a login is slow, and those that the end cuts off don't count."""
    load = wrk(remote.url, "login", remote.logins, seconds=4 * seconds, connections=8, cores=BOTH)
    remote.settle()
    return load


LOADS: dict[str, dict[str, Callable[[Remote, int], Load]]] = {
    "verify": {"verify, distinct tokens": verify_distinct, "verify, one token": verify_one},
    "refresh": {"refresh, staying": refresh_staying, "refresh, rotating": refresh_rotating},
    "login": {"login, 8 clients": login},
}


def alone(scenario: str, remote: Remote, seconds: int) -> Iterator[Figure]:
    """What a service gives, without a limit to take it of. Raises ServiceRefusedError."""
    for name, run in LOADS[scenario].items():
        load = run(remote, seconds)
        yield Figure(name, load.per_second, "/s", load=load)


def in_turn(scenario: str, figures: Sequence[Figure], ours: Remote, theirs: Remote, seconds: int) -> Iterator[Figure]:
    """Adds ours, theirs, ours, theirs to each figure that another service has too. Raises ServiceRefusedError."""
    for figure in figures:
        run = LOADS.get(scenario, {}).get(figure.name)
        if run is None:
            yield figure
        else:
            turns = [run(remote, seconds) for remote in (ours, theirs) * 2]
            yield replace(figure, in_turn=tuple(turns[::2]), theirs=tuple(turns[1::2]))
