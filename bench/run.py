"""The two kinds of run: of our own service on a private database, and of one that already runs."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.loads import LOADS, alone, in_turn
from bench.operation import operated
from bench.plan import BOTH, THEIRS, Figure, Plan
from bench.progress import announced, say
from bench.remote import TOKENS, USERS, Remote
from bench.scenarios import SCENARIOS
from bench.seed import SECRET, seed
from bench.servers import SERVICE, Server, migrate
from service.localdb import local_database


def measured(
    scenarios: Sequence[str], *, rounds: int, seconds: int, quick: bool, against: str | None
) -> Iterator[Figure]:
    """Each scenario beside its limit and, where another service can take it too, in turn with that."""
    with ExitStack() as stack:
        plan = stack.enter_context(_plan(seconds, quick=quick))
        rivals = stack.enter_context(_rivals(plan, against)) if against else None
        guess = (30 if rivals else 8) * seconds + 5
        for scenario in announced(scenarios, rounds=rounds, guess=guess):
            figures = SCENARIOS[scenario](plan)
            yield from in_turn(scenario, list(figures), *rivals, seconds) if rivals else figures


def loaded(target: str, scenarios: Sequence[str], *, rounds: int, seconds: int, quick: bool) -> Iterator[Figure]:
    """What a running service gives; there is no limit to it. Raises ServiceRefusedError."""
    with tempfile.TemporaryDirectory() as name:
        say(f"signing up and logging in at {target}")
        with Remote(target, Path(name) / "target", **_effort(quick=quick)) as remote:
            for scenario in announced(scenarios, rounds=rounds, guess=3 * seconds + 5):
                yield from alone(scenario, remote, seconds)


def scenarios_of(*, target: bool) -> Sequence[str]:
    """Their names, of a run of either kind."""
    return list(LOADS if target else SCENARIOS)


@contextmanager
def _plan(seconds: int, *, quick: bool) -> Iterator[Plan]:
    say("starting a private MariaDB")
    with tempfile.TemporaryDirectory() as name, local_database(Path(name) / "mariadb") as database:
        os.sched_setaffinity(database.pid, THEIRS)
        # Some users log in a thousand times, and none of their sessions may end for it.
        roomy = {"HASH_QUEUE": "64", "MAX_SESSIONS": "10000"}
        rounds = 10 if quick else 12
        settings = {"DATABASE_URL": database.url, "JWT_SECRET": SECRET, "BCRYPT_ROUNDS": str(rounds)}
        settings |= {**roomy, **operated()}
        migrate(database.url)
        folder = Path(name)
        sessions = 6_000 if quick else 60_000  # each turn of those who rotate loses what was under way
        seed(database.url, folder, users=1000, sessions=sessions, rounds=rounds)
        _divide(folder)
        yield Plan(folder, settings, seconds, database.pid, sessions, quick)


@contextmanager
def _rivals(plan: Plan, url: str) -> Iterator[tuple[Remote, Remote]]:
    """Ours and theirs, prepared in the same way. Ours has all cores too: nobody here can pin theirs to one."""
    say(f"signing up and logging in at {url} and at ours")
    with (
        Server(SERVICE, BOTH, plan.settings) as server,
        Remote(server.url, plan.folder / "ours", **_effort(quick=plan.quick)) as ours,
        Remote(url, plan.folder / "theirs", **_effort(quick=plan.quick)) as theirs,
    ):
        yield ours, theirs


def _effort(*, quick: bool) -> dict[str, int]:
    """How many accounts and tokens of a running service."""
    return {"users": 8, "tokens": 200} if quick else {"users": USERS, "tokens": TOKENS}


def _divide(folder: Path) -> None:
    """The refresh tokens: those that stay, and those that rotate, which only one side may do."""
    lines = (folder / "refresh").read_text().splitlines(keepends=True)
    middle, last = len(lines) // 2, len(lines) * 3 // 4
    for name, part in (
        ("stay", lines[:middle]),
        ("rotate-reference", lines[middle:last]),
        ("rotate-service", lines[last:]),
    ):
        (folder / name).write_text("".join(part))
