"""Who may import whom, and one vendor, one file: each must be replaceable in an afternoon."""

import ast
import sys
from pathlib import Path

import pytest

from tests.server import ROOT

ALLOWED = {
    "app": {"background", "environment", "keys", "keywatch", "lifespan", "logs", "metrics", "settings", "web"},
    "lifespan": {
        "account", "auth", "background", "database", "health", "keywatch", "metrics", "passwords",
        "revocations", "rotation", "sessions", "settings", "shutdown", "throttle", "tokens", "web",
    },
    "web": {"account", "auth", "errors", "health", "introspection", "logs", "release", "tokens", "web"},
    "auth": {
        "database", "errors", "passwords", "queries", "revocations", "rotation", "sessions", "throttle", "tokens",
        "usernames",
    },
    "account": {"database", "errors", "passwords", "queries", "sessions", "throttle", "tokens", "usernames"},
    "administration": {"database", "passwords", "queries", "sessions", "usernames"},
    "imports": {"database", "errors", "hashes", "queries", "usernames"},
    "importfiles": {"imports"},
    "importtable": {"imports", "queries"},
    "introspection": {"auth", "errors", "rotation", "tokens"},
    "hashes": set(),
    "sessions": {"database", "queries", "revocations"},
    "revocations": {"database", "errors", "queries"},
    "rotation": {"database", "errors", "queries"},
    "background": {
        "database", "errors", "health", "keywatch", "metrics", "passwords", "queries", "revocations", "sessions",
        "throttle",
    },
    "metrics": {"release"},
    "release": set(),
    "health": {"database", "errors", "queries", "revocations", "shutdown"},
    "queries": {"database", "errors", "queries"},
    "database": {"address", "errors", "pool"},
    "pool": {"address"},
    "passwords": {"errors", "hashes", "threads"},
    "tokens": {"errors", "keys"},
    "usernames": {"errors"},
    "keys": {"base64url", "errors"},
    "base64url": set(),
    "keyfolder": {"keys"},
    "keyrotation": {"keyfolder", "keys"},
    "keywatch": {"keyfolder", "keys"},
    "cli": {
        "address", "administration", "cli", "database", "environment", "errors", "importfiles", "imports",
        "importtable", "keyfolder", "keyrotation", "keys", "keywatch", "logs", "passwords", "queries", "revocations",
        "sessions", "settings",
    },
    "dev": {"localdb", "mariadb"},
    "errors": set(),
    "localdb": {"mariadb"},
    "mariadb": set(),
    "logs": set(),
    "environment": set(),
    "shutdown": set(),
    "settings": {"address", "environment", "ratelimits"},
    "address": {"environment"},
    "ratelimits": {"environment"},
    "tallies": {"errors", "ratelimits"},
    "throttle": {"errors", "ratelimits", "tallies"},
    "threads": {"errors"},
}  # fmt: skip
VENDORS = {
    "starlette": {"app", "lifespan", "web"},
    "aiomysql": {"pool"},
    "pymysql": {"database", "pool"},
    "jose": {"keys"},
    "cryptography": {"keys"},
    "click": {"cli"},
    "passlib": {"passwords"},
    "bcrypt": {"passwords"},
    "precis_i18n": {"usernames"},
    "pythonjsonlogger": {"logs"},
    "uuid_utils": {"administration", "auth", "imports", "sessions"},
    "uvicorn": {"protocol", "shutdown"},
    "prometheus_client": {"metrics"},
    "limits": {"tallies"},
    "redis": {"tallies"},
    "yoyo": set(),
}
EVERYWHERE = sys.stdlib_module_names | {"service", "msgspec"}
MODULES = sorted((ROOT / "service").rglob("*.py"))


def room(path: Path) -> str:
    """`web` for service/web/routes.py, `auth` for service/auth.py."""
    return path.relative_to(ROOT / "service").parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Dotted names of what a module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in {path}"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("service.")}
    assert ours <= ALLOWED.get(room(path), set())


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_vendor_is_known_to_its_room_only(path: Path) -> None:
    for name in imported(path):
        package = name.split(".")[0]
        assert package in EVERYWHERE or room(path) in VENDORS[package], name


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_only_settings_read_the_environment(path: Path) -> None:
    """`dev` is on the other side: it makes the environment of the processes it starts."""
    names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    names |= {name.removeprefix("os.") for name in imported(path)}
    assert "*" not in names
    assert room(path) in {"settings", "dev"} or not names & {"environ", "getenv", "environb"}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_statement_is_put_together_from_parts(path: Path) -> None:
    """REQUIREMENTS 52: SQL is a literal; values are arguments."""
    verbs = ("select ", "insert ", "update ", "delete ")
    tree = ast.parse(path.read_text())
    literals = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.strip().startswith(verbs):
            assert room(path) in {"queries", "imports"}  # which keeps its names in an SQLite file of its own
            assert id(node) in literals or room(path) == "imports"
        if isinstance(node, ast.AugAssign):
            assert room(path) != "queries"
            assert ast.unparse(node.target) != "statement"
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            assert not text.strip().lower().startswith(verbs)


def test_a_file_of_the_service_stays_readable() -> None:
    for path in MODULES:
        assert len(path.read_text().splitlines()) <= 170, path
