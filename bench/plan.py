"""How a run is set, and what a measurement is."""

import os
from dataclasses import dataclass
from pathlib import Path

from bench.rawbcrypt import RawBcrypt
from bench.turns import Side, take_turns
from bench.wrk import Load

CORES = sorted(os.sched_getaffinity(0))
OURS, THEIRS = {CORES[0]}, {CORES[-1]}  # the service's core, and the one of wrk and the database
BOTH = set(CORES)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement of one round.

    `limit` is what the ratio is taken of, in the same unit, where there is one; `limit_load` is the load that showed
    it. `at_least` or `at_most` is the target, of the ratio where there is one and of the value otherwise. `theirs` are
    the turns of another service, and `in_turn` ours between them.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    load: Load | None = None
    at_least: float | None = None
    at_most: float | None = None
    limit_load: Load | None = None
    in_turn: tuple[Load, ...] = ()
    theirs: tuple[Load, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the tokens lie, how the service is set, and how long each load lasts."""

    folder: Path
    settings: dict[str, str]
    seconds: int
    database: int  # its process
    sessions: int
    quick: bool = False  # to see that it works: with less of what takes long to prepare

    @property
    def hashing(self) -> int:
        """Seconds of a load that hashes: of the few hashes a second, wrk doesn't count those that its end cuts off."""
        return (1 if self.quick else 6) * self.seconds

    @property
    def alternations(self) -> int:
        """Turns of a second of what has to be set up anew for each of them, and costs ten."""
        return 1 + self.seconds // 2

    def bcrypt(self) -> RawBcrypt:
        """The limit of a load that hashes on all cores."""
        return RawBcrypt(len(CORES), self.hashing / 4, int(self.settings["BCRYPT_ROUNDS"]))

    def warm_up(self, *sides: Side) -> None:
        """A second of each that does not count, but where a run is quick."""
        if not self.quick:
            for side in sides:
                side.warm_up()

    def compare(self, *sides: Side) -> None:
        """Lets each have its seconds, in turns, once all are warm."""
        self.warm_up(*sides)
        take_turns(sides, self.seconds)
