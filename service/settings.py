"""What the operator may set. `Settings.from_env` is the only reader of the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from service.environment import Environment, InvalidSetting

SAMPLE_SECRET = "replace-this-with-32-random-bytes-or-more"  # noqa: S105  # it is refused
_KEY_FILE_MARKS = (b"-----BEGIN", b"ssh-", b"ecdsa-sha2-")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseAddress:
    """Where the database is, and as whom to log in there."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    name: str
    unix_socket: str | None = None

    @classmethod
    def from_url(cls, url: str) -> "DatabaseAddress":
        """Reads `mysql://user:pass@host:port/name[?unix_socket=/path]`, percent-encoded. Raises InvalidSetting."""
        try:
            parts, port = urlsplit(url), urlsplit(url).port
        except ValueError:
            raise InvalidSetting("DATABASE_URL is not a URL: percent-encode the user name and the password") from None
        if parts.scheme != "mysql":
            raise InvalidSetting("DATABASE_URL must begin with mysql:// (also for MariaDB)")
        name = unquote(parts.path.removeprefix("/"))
        if not parts.username or not name or "/" in name or parts.fragment:
            raise InvalidSetting("DATABASE_URL must have the form mysql://user:password@host:port/database")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        unix_socket = options.pop("unix_socket", None)
        if options:
            raise InvalidSetting(f"DATABASE_URL has a parameter that is not known: {', '.join(sorted(options))}")
        return cls(
            host=parts.hostname or "localhost",
            port=port or 3306,
            user=unquote(parts.username),
            password=unquote(parts.password or ""),
            name=name,
            unix_socket=unix_socket,
        )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set, checked. Durations are seconds."""

    database: DatabaseAddress
    jwt_secret: bytes = field(repr=False)
    jwt_expiry: int = 5 * 60
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    refresh_expiry: int = 7 * 86400
    session_max_age: int = 30 * 86400
    max_sessions: int = 50
    revocation_interval: float = 1
    revocation_max_age: float | None = None
    bcrypt_rounds: int = 12
    password_min_length: int = 8
    password_blocklist: frozenset[str] = field(default=frozenset(), repr=False)
    hash_threads: int = os.cpu_count() or 1
    hash_queue: int = 64
    pool_size: int = 10
    database_timeout: float = 2
    cors_origins: tuple[str, ...] = ("*",)
    log_level: str = "INFO"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Reads and checks every setting. Raises InvalidSetting at the first one that is unusable."""
        env = Environment(environ)
        return cls(
            database=DatabaseAddress.from_url(env.required("DATABASE_URL")),
            jwt_secret=_secret(env.required("JWT_SECRET")),
            jwt_expiry=env.duration("JWT_EXPIRY", cls.jwt_expiry),
            jwt_issuer=env.claim("JWT_ISSUER"),
            jwt_audience=env.claim("JWT_AUDIENCE"),
            refresh_expiry=env.duration("REFRESH_EXPIRY", cls.refresh_expiry),
            session_max_age=env.duration("SESSION_MAX_AGE", cls.session_max_age),
            max_sessions=env.integer("MAX_SESSIONS", cls.max_sessions, 1, 10_000),
            revocation_interval=env.duration("REVOCATION_INTERVAL", int(cls.revocation_interval), least=0),
            revocation_max_age=env.optional_duration("REVOCATION_MAX_AGE"),
            bcrypt_rounds=env.integer("BCRYPT_ROUNDS", cls.bcrypt_rounds, 10, 20),
            password_min_length=env.integer("PASSWORD_MIN_LENGTH", cls.password_min_length, 1, 64),
            password_blocklist=env.lines_of_file("PASSWORD_BLOCKLIST"),
            hash_threads=env.integer("HASH_THREADS", cls.hash_threads, 1, 256),
            hash_queue=env.integer("HASH_QUEUE", cls.hash_queue, 0, 100_000),
            pool_size=env.integer("POOL_SIZE", cls.pool_size, 1, 1000),
            database_timeout=env.duration("DATABASE_TIMEOUT", int(cls.database_timeout)),
            cors_origins=env.origins("CORS_ORIGINS", "*"),
            log_level=env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")),
        )


def _secret(text: str) -> bytes:
    secret = text.encode("utf-8", "surrogateescape")
    if len(secret) < 32:  # RFC 7518 §3.2: a key of the hash's size or larger
        raise InvalidSetting(f"JWT_SECRET must be 32 bytes at least; it has {len(secret)}")
    if text == SAMPLE_SECRET or any(mark in secret for mark in _KEY_FILE_MARKS):
        raise InvalidSetting("JWT_SECRET must be your own random text, no sample and no key file: openssl rand -hex 32")
    return secret
