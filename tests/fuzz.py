"""Fuzzing: `python -m tests.fuzz [tokens] [claims] [requests] [sessions] [--examples N] [--seed N]`.

Each example follows from the seed and its number, so that a failure can be had again: the same command with `--first`
at the number that is printed. No corpus: what is damaged are genuine tokens, bodies and requests. No guide by coverage
(atheris) either: 4000 examples reach every branch that reads tokens, and the parsers below are not in Python.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import hypothesis
import pymysql
from hypothesis.stateful import run_state_machine_as_test

from service.localdb import local_database
from tests import asgi, fuzz_requests
from tests.fuzz_requests import Lines, a_request, check_request
from tests.fuzz_tokens import NOW, check_damaged_token, check_strange_claims
from tests.server import cursor_on, migrate
from tests.test_session_machine import SETTINGS, game, new_world

LOGIN = 500  # requests, after which there is a new session


def fuzz_tokens(seed: int, numbers: range) -> None:
    each(check_damaged_token, f"{seed} tokens", numbers)


def fuzz_claims(seed: int, numbers: range) -> None:
    each(check_strange_claims, f"{seed} claims", numbers)


def each(check: Callable[[Random], None], name: str, numbers: range) -> None:
    for number in numbers:
        try:
            check(Random(f"{name} {number}"))
        except BaseException as error:
            error.add_note(f"--first {number}")
            raise


def fuzz_requests_on_a_database(seed: int, numbers: range) -> None:
    with new_database() as url, cursor_on(url) as sql:
        seen = asyncio.run(ask(url, sql, seed, numbers))
    sys.stdout.write(json.dumps(seen, sort_keys=True) + "\n")


@contextmanager
def new_database() -> Iterator[str]:
    """The DATABASE_URL of one with the schema applied."""
    with tempfile.TemporaryDirectory() as folder, local_database(Path(folder) / "mariadb") as mariadb:
        migrate(mariadb.url)
        yield mariadb.url


async def ask(url: str, sql: pymysql.cursors.Cursor, seed: int, numbers: range) -> Counter[str]:
    """How often each answer was given; `numbers` begin where there is a new session."""
    seen: Counter[str] = Counter()
    lines, root = Lines(), logging.getLogger()
    before = root.level
    root.addHandler(lines)
    root.setLevel(logging.INFO)
    try:
        async with asgi.process(fuzz_requests.settings(url), lambda: NOW) as process:
            for number in range(numbers.start - numbers.start % LOGIN, numbers.stop):
                if number % LOGIN == 0:
                    holdings = fuzz_requests.log_in(sql, number)
                sent = a_request(Random(f"{seed} requests {number}"), holdings)
                try:
                    await check_request(process, sent, holdings, lines, seen)
                except BaseException as error:
                    error.add_note(f"--first {number}: {sent}")
                    raise
    finally:
        root.removeHandler(lines)
        root.setLevel(before)
    return seen


def fuzz_sessions(seed: int, numbers: range) -> None:
    """Games of up to 50 moves; Hypothesis says how to have a lost one again."""
    with new_database() as url, new_world(url) as world:
        games = hypothesis.seed(f"{seed} {numbers.start}")(game(world))
        run_state_machine_as_test(games, settings=hypothesis.settings(SETTINGS, max_examples=len(numbers)))


TARGETS = {
    "tokens": fuzz_tokens,
    "claims": fuzz_claims,
    "requests": fuzz_requests_on_a_database,
    "sessions": fuzz_sessions,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzzes the service.")
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], help="all of them, unless named")
    parser.add_argument("--examples", type=int, default=10_000, help="of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number to begin with")
    chosen = parser.parse_args()
    for name in chosen.targets or TARGETS:
        began = time.monotonic()
        TARGETS[name](chosen.seed, range(chosen.first, chosen.first + chosen.examples))
        seconds = time.monotonic() - began
        sys.stdout.write(f"{name}: {chosen.examples} examples in {seconds:.0f} s, nothing found\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
