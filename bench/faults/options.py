"""What may be asked of a run that breaks things."""

import argparse
from collections.abc import Iterable

from bench.results import folder


def options(prog: str, about: str | None, parts: Iterable[str], kept: str) -> argparse.Namespace:
    """`only`, `quick`, `into` and `keep` of the command line; exits with 2 where that can't be read."""
    names = list(parts)
    parser = argparse.ArgumentParser(prog=prog, description=about)
    add = parser.add_argument
    add("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}; may be repeated")
    add("--quick", action="store_true", help="each for a moment, to see that it works; keeps no results")
    add("--into", type=folder, metavar="FOLDER", help=f"keeps {kept} there; default bench/, of a whole run")
    add("--keep", type=folder, metavar="FOLDER", help="keeps the journals and the logs of the service there")
    return parser.parse_args()
