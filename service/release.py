"""Which release this is."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of


def version() -> str:
    """That of the installed package; `unknown` in a clone that was not installed."""
    with suppress(PackageNotFoundError):
        return version_of("mstack-auth")
    return "unknown"
