"""The data of a server that has ended, for others to start on."""

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from service.localdb import LocalDatabase, local_database

_BLOCK = bytes(1024 * 1024)


def a_copy(folder: Path, to: Path, *options: str) -> AbstractContextManager[LocalDatabase]:
    """A server on a copy of the data in a folder, which starts in a fraction of the time that a new one takes."""
    copy_data(folder, to)
    return local_database(to, *options)


def copy_data(folder: Path, to: Path) -> None:
    """Copies the data, but leaves holes for zeros: MariaDB's log is a hundred megabytes of hardly anything else."""
    shutil.copytree(folder / "data", to / "data", copy_function=_copy_sparsely)


def _copy_sparsely(source: str, target: str) -> None:
    with Path(source).open("rb") as old, Path(target).open("wb") as new:
        while block := old.read(len(_BLOCK)):
            if block == _BLOCK:
                new.seek(len(block), 1)
            else:
                new.write(block)
        new.truncate()
    shutil.copystat(source, target)
