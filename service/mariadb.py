"""MariaDB's programs on this machine, and the data folder that one of them makes and another serves."""

import os
import pwd
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

_SEARCH_PATH = os.pathsep.join([os.defpath, "/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"])
_MISSING = "MariaDB is not installed: apt install mariadb-server (Debian, Ubuntu), brew install mariadb (macOS)"


class LocalDatabaseError(Exception):
    """The private server can't be had; the text is a sentence for the one at the terminal."""


def program(*names: str) -> str:
    """The path of the first that is installed. Raises LocalDatabaseError."""
    for name in names:
        if found := shutil.which(name) or shutil.which(name, path=_SEARCH_PATH):
            return found
    raise LocalDatabaseError(_MISSING)


def account() -> str:
    """Who runs this, by the system's word: variables may say otherwise. Raises LocalDatabaseError."""
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise LocalDatabaseError(f"the private MariaDB needs an account with a name; uid {uid} has none") from None


def as_root() -> list[str]:
    """The option without which MariaDB refuses to run as root."""
    return ["--user=root"] if os.geteuid() == 0 else []


def serves(pid: int, data: Path) -> bool:
    """Whether this process is a server that runs on this folder. Raises LocalDatabaseError."""
    option = os.fsencode(f"--datadir={data}")
    if Path("/proc/self/cmdline").exists():  # where ps need not be installed
        with suppress(OSError):  # it has ended
            return option in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return False
    command = [program("ps"), "-wwo", "command=", "-p", str(pid)]
    return option in subprocess.run(command, capture_output=True, check=False).stdout


def install(data: Path, scratch: Path) -> None:
    """Makes a data folder that only its owner's account may administer. Raises LocalDatabaseError."""
    # Made elsewhere and moved as a whole: a set-up that is cut off leaves nothing, and the program that does it can't
    # have spaces in a path.
    new, unfinished = scratch / "data", data.with_name("data.unfinished")
    command = [program("mariadb-install-db", "mysql_install_db"), "--no-defaults", *as_root(), "--skip-test-db"]
    command += [f"--datadir={new}", f"--tmpdir={scratch}"]
    command += ["--auth-root-authentication-method=socket", f"--auth-root-socket-user={account()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LocalDatabaseError(f"the private MariaDB cannot be set up: {done.stdout[-500:]}{done.stderr[-500:]}")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.move(new, unfinished)
    unfinished.rename(data)
