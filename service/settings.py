"""What the operator may set. The `from_env` of this module are the only readers of the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from service.address import DatabaseAddress
from service.environment import Environment, InvalidSetting
from service.ratelimits import RateLimits

environment: Mapping[str, str] = os.environ
"""What the `from_env` read, for those who give them less of it."""


@dataclass(frozen=True, kw_only=True)
class KeySettings:
    """What signs and verifies tokens, checked. `longest_lifetime` is that of any token; durations are seconds."""

    jwt_algorithm: str = "HS256"
    jwt_secret: bytes | None = field(default=None, repr=False)
    jwt_secret_previous: tuple[bytes, ...] = field(default=(), repr=False)
    jwt_keys: Path | None = None
    jwks_max_age: int = 5 * 60
    longest_lifetime: int = 7 * 86400

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "KeySettings":
        """Reads and checks these settings alone. Raises InvalidSetting at the first one that is unusable."""
        env = Environment(environ)
        return cls(
            jwt_algorithm=env.choice("JWT_ALGORITHM", cls.jwt_algorithm, ("HS256", "RS256", "ES256")),
            jwt_secret=env.secret("JWT_SECRET"),
            jwt_secret_previous=env.secrets("JWT_SECRET_PREVIOUS"),
            jwt_keys=env.path("JWT_KEYS"),
            jwks_max_age=env.duration("JWKS_MAX_AGE", cls.jwks_max_age),
            longest_lifetime=max(
                env.duration("JWT_EXPIRY", Settings.jwt_expiry), env.duration("REFRESH_EXPIRY", Settings.refresh_expiry)
            ),
        )

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """All that there are, the one that signs under HS256 first."""
        return (*([self.jwt_secret] if self.jwt_secret else []), *self.jwt_secret_previous)

    def require_signing(self) -> "KeySettings":
        """Itself. Raises InvalidSetting when there is nothing to sign with."""
        if self.jwt_algorithm == "HS256" and not self.jwt_secret:
            raise InvalidSetting("JWT_SECRET", "is not set")
        if self.jwt_algorithm != "HS256" and not self.jwt_keys:
            raise InvalidSetting("JWT_KEYS", f"is not set: JWT_ALGORITHM={self.jwt_algorithm} needs a folder of keys")
        return self


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set, checked. Durations are seconds."""

    database: DatabaseAddress
    keys: KeySettings
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
    hash_threads: int = min(os.cpu_count() or 1, 256)
    hash_queue: int = 64
    pool_size: int = 10
    database_timeout: float = 2
    cors_origins: tuple[str, ...] = ("*",)
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    limits: RateLimits = field(default=RateLimits())
    introspection_secret: bytes | None = field(default=None, repr=False)
    log_level: str = "INFO"
    log_format: str = "json"
    shutdown_delay: float = 2
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    metrics_folder: Path | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, *, signs: bool = True) -> "Settings":
        """Reads and checks every setting; those of keys only where it `signs`. Raises InvalidSetting at the first."""
        env = Environment(environ)
        interval = env.duration("REVOCATION_INTERVAL", int(cls.revocation_interval), least=0)
        max_age = env.optional_duration("REVOCATION_MAX_AGE")
        if max_age is not None and not 0 < 2 * interval <= max_age:
            raise InvalidSetting(
                "REVOCATION_MAX_AGE", "must be at least twice REVOCATION_INTERVAL, which must not be 0"
            )
        database = DatabaseAddress.from_url(env.required("DATABASE_URL"))
        keys = KeySettings.from_env(environ).require_signing() if signs else KeySettings()
        introspection_secret = env.client_secret("INTROSPECTION_SECRET")
        if introspection_secret in keys.secrets:
            raise InvalidSetting("INTROSPECTION_SECRET", "must not be a secret that signs: who may ask could log in")
        return cls(
            database=database,
            keys=keys,
            jwt_expiry=env.duration("JWT_EXPIRY", cls.jwt_expiry),
            jwt_issuer=env.claim("JWT_ISSUER"),
            jwt_audience=env.claim("JWT_AUDIENCE"),
            refresh_expiry=env.duration("REFRESH_EXPIRY", cls.refresh_expiry),
            session_max_age=env.duration("SESSION_MAX_AGE", cls.session_max_age),
            max_sessions=env.integer("MAX_SESSIONS", cls.max_sessions, 1, 10_000),
            revocation_interval=interval,
            revocation_max_age=max_age,
            bcrypt_rounds=env.integer("BCRYPT_ROUNDS", cls.bcrypt_rounds, 10, 20),
            password_min_length=env.integer("PASSWORD_MIN_LENGTH", cls.password_min_length, 1, 64),
            password_blocklist=env.lines_of_file("PASSWORD_BLOCKLIST"),
            hash_threads=env.integer("HASH_THREADS", cls.hash_threads, 1, 256),
            hash_queue=env.integer("HASH_QUEUE", cls.hash_queue, 0, 100_000),
            pool_size=env.integer("POOL_SIZE", cls.pool_size, 1, 1000),
            database_timeout=env.duration("DATABASE_TIMEOUT", int(cls.database_timeout)),
            cors_origins=env.origins("CORS_ORIGINS", "*"),
            trusted_proxies=env.networks("TRUSTED_PROXIES"),
            limits=RateLimits.from_env(env),
            introspection_secret=introspection_secret,
            log_level=env.choice("LOG_LEVEL", cls.log_level, ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")),
            log_format=env.choice("LOG_FORMAT", cls.log_format, ("JSON", "CONSOLE")).lower(),
            metrics_host=env.text("METRICS_HOST", cls.metrics_host),
            metrics_port=env.integer("METRICS_PORT", 0, 0, 65535) or None,
            metrics_folder=env.folder("PROMETHEUS_MULTIPROC_DIR") if env.text("METRICS_PORT", "") else None,
            shutdown_delay=env.duration("SHUTDOWN_DELAY", int(cls.shutdown_delay), least=0),
        )
