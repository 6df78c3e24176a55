"""`make dev`: the service with reload, on a private MariaDB whose data stay."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from service.localdb import STOPS, local_database
from service.mariadb import LocalDatabaseError

UNUSABLE = 2  # of `mstack-auth config check`
_STOP_TIMEOUT = 20  # seconds
ROOT = Path(__file__).resolve().parent.parent


def main(folder: Path) -> int:
    """Runs until Ctrl-C, with everything that is kept in `folder`; returns the exit code."""
    for number in STOPS:
        signal.signal(number, _leave)
    environ = {name: value for name, value in os.environ.items() if value}
    if "DATABASE_URL_FILE" in environ:
        raise LocalDatabaseError("make dev takes DATABASE_URL and no DATABASE_URL_FILE, which yoyo does not know")
    with ExitStack() as stack:
        if "DATABASE_URL" not in environ:
            environ["DATABASE_URL"] = stack.enter_context(local_database(folder / "mariadb")).url
        if "JWT_SECRET_FILE" not in environ:
            environ.setdefault("JWT_SECRET", _kept_secret(folder / "jwt-secret"))
        environ.setdefault("LOG_FORMAT", "console")
        environ.setdefault("SHUTDOWN_DELAY", "0")
        port = environ.setdefault("UVICORN_PORT", "5000")
        tools = Path(sys.executable).parent
        checked = subprocess.run(
            [tools / "mstack-auth", "config", "check"],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        if checked.returncode == UNUSABLE:
            print(checked.stdout + checked.stderr, end="")
            return UNUSABLE
        migrated = subprocess.run([tools / "yoyo", "apply", "--batch"], cwd=ROOT, env=environ, check=False)
        if migrated.returncode != 0:
            print(checked.stdout, end="")
            return migrated.returncode
        _say_where(port)
        options = ["--factory", "service.app:create_app", "--ws", "none", "--reload", "--reload-dir", "service"]
        options += ["--timeout-graceful-shutdown", "10", "--no-proxy-headers", "--http", "service.protocol:HeadOnly"]
        return _run([tools / "uvicorn", *options], environ)


def _leave(number: int, _: object) -> None:
    _hear_no_more()
    sys.exit(130 if number == signal.SIGINT else 0)


def _hear_no_more() -> None:
    # A second stop would interrupt the first one's work. Not SIG_IGN, which a process started now would inherit.
    for number in STOPS:
        signal.signal(number, lambda *_: None)


def _kept_secret(path: Path) -> str:
    if not path.exists() or not path.stat().st_size:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        unfinished.touch(mode=0o600)
        unfinished.write_text(secrets.token_hex(32))
        unfinished.rename(path)
    return path.read_text()


def _say_where(port: str) -> None:
    api = f"http://localhost:{port}"
    print(
        f"\n  API   {api}/auth\n"
        f"  Page  {(ROOT / 'tests' / 'demo.html').as_uri()}?api={api}\n"
        f"  Try   curl {api}/auth/signup -H 'Content-Type: application/json'"
        """ -d '{"username":"ada","password":"correct horse"}'\n"""
        "  Stop  Ctrl-C\n",
        flush=True,
    )


def _run(command: Sequence[str | Path], environ: dict[str, str]) -> int:
    service: subprocess.Popen[bytes] | None = None
    stopped_early = False  # not held back as for the database: uvicorn keeps the mask that it inherits

    def stop(*_: object) -> None:
        nonlocal stopped_early
        _hear_no_more()
        if service:
            _end(service)
        else:
            stopped_early = True

    for number in STOPS:
        signal.signal(number, stop)
    # A group of its own, so that Ctrl-C reaches this process alone and becomes one signal: two at once, and uvicorn's
    # reloader waits for itself for ever.
    service = subprocess.Popen(command, cwd=ROOT, env=environ, process_group=0)
    if stopped_early:
        _end(service)
    code = service.wait()
    signal.alarm(0)
    return code if code >= 0 else 128 - code  # as a shell says that a signal ended it


def _end(service: subprocess.Popen[bytes]) -> None:
    def end_all(*_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(service.pid, signal.SIGKILL)

    # Where what watches the files has died, uvicorn's reloader hears no stop, and nobody ends the service below it.
    signal.signal(signal.SIGALRM, end_all)
    signal.alarm(_STOP_TIMEOUT)
    service.terminate()


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / ".dev"))
    except (LocalDatabaseError, OSError) as error:
        sys.exit(f"mstack-auth: {error}")
