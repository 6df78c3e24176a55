import subprocess
import sys
from pathlib import Path

import certifi
import pytest

from bench.servers import environment
from service.address import DatabaseAddress
from service.environment import SAMPLE_SECRET, InvalidSetting
from service.settings import KeySettings, Settings
from tests.server import ROOT, SECRET, TOOLS

VERIFIED = "ssl_verify_cert=true&ssl_verify_identity=true"
GOOD = {"DATABASE_URL": "mysql://auth:pw@db.internal:3307/app", "JWT_SECRET": SECRET}


def test_two_settings_suffice_and_the_rest_have_the_documented_defaults() -> None:
    settings = Settings.from_env(GOOD)
    assert settings.database == DatabaseAddress(host="db.internal", port=3307, user="auth", password="pw", name="app")
    assert (settings.jwt_expiry, settings.refresh_expiry, settings.session_max_age) == (300, 604800, 2592000)
    assert (settings.bcrypt_rounds, settings.password_min_length, settings.cors_origins) == (12, 8, ("*",))
    assert settings == Settings.from_env({**GOOD, "JWT_EXPIRY": "", "HASH_THREADS": " "}), "empty is absent"


@pytest.mark.parametrize(
    ("text", "seconds"), [("300", 300), ("300s", 300), ("5m", 300), ("12h", 43200), ("7d", 604800)]
)
def test_a_duration_is_seconds_or_has_a_unit(text: str, seconds: int) -> None:
    assert Settings.from_env({**GOOD, "JWT_EXPIRY": text}).jwt_expiry == seconds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_SECRET", ""),
        ("JWT_SECRET", "short"),
        ("JWT_SECRET", "x" * 31),
        ("JWT_SECRET", SAMPLE_SECRET),
        ("JWT_SECRET", "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"),
        ("JWT_SECRET", "---- BEGIN CERTIFICATE ----0123456789abcdef"),
        ("JWT_SECRET", "x-cert-v01@openssh.com 0123456789abcdef0123456789abcdef"),
        ("JWT_SECRET_PREVIOUS", "short"),
        ("JWT_SECRET_PREVIOUS", f"{'y' * 32}, {'x' * 31}"),
        ("JWT_SECRET_PREVIOUS", SAMPLE_SECRET),
        ("JWT_ALGORITHM", "none"),
        ("JWT_ALGORITHM", "HS512"),
        ("JWKS_MAX_AGE", "0"),
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "auth"),
        ("DATABASE_URL", "postgresql://auth:pw@db/app"),
        ("DATABASE_URL", "mysql+pymysql://auth:pw@db/app"),
        ("DATABASE_URL", "mysql://auth:pw@db"),
        ("DATABASE_URL", "mysql://auth:pw@db/"),
        ("DATABASE_URL", "mysql://db/app"),
        ("DATABASE_URL", "mysql://auth:p/w@db/app"),
        ("DATABASE_URL", "mysql://auth:pw@db:99999/app"),
        ("DATABASE_URL", "mysql://auth:p#w@db/app"),
        ("DATABASE_URL", "mysql://auth:pw@[::1/app"),
        ("DATABASE_URL", "mysql://auth:pw@db/app?ssl_ca=/etc/ca.pem"),
        ("DATABASE_URL", f"mysql://auth:pw@db/app?{VERIFIED}"),
        ("DATABASE_URL", f"mysql://auth:pw@db/app?ssl_ca=&{VERIFIED}"),
        ("DATABASE_URL", f"mysql://auth:pw@db/app?ssl_ca={certifi.where()}&ssl_verify_cert=true"),
        ("DATABASE_URL", f"mysql://auth:pw@db/app?ssl_ca={certifi.where()}&{VERIFIED.replace('true', 'false')}"),
        ("DATABASE_URL", f"mysql://auth:pw@db/app?ssl_ca=/nowhere/at/all&{VERIFIED}"),
        ("DATABASE_URL", f"mysql://auth:pw@db/app?ssl_ca={__file__}&{VERIFIED}"),
        ("DATABASE_URL", f"mysql://auth:pw@db/app?ssl_ca={certifi.where()}&ssl_cert=/etc/us.pem&{VERIFIED}"),
        ("DATABASE_URL", f"mysql://auth:pw@db/app?ssl_ca={certifi.where()}&{VERIFIED}&unix_socket=/run/db.sock"),
        ("DATABASE_URL", "mysql://auth:pw%E2%82%AC@db/app"),
        ("DATABASE_URL", "mysql://auth:pw%C3%BC@db/app"),
        ("DATABASE_URL", "mysql://auth:pw@db:65536/app"),
        ("DATABASE_URL", "mysql://auth:pw@db/app?charset=utf8"),
        ("DATABASE_URL", "mysql://auth:pw@db/app/more"),
        ("DATABASE_URL", "mysql://auth:pw@db/app#more"),
        ("DATABASE_URL_FILE", "/run/secrets/database-url"),
        ("JWT_SECRET_FILE", "/run/secrets/jwt"),
        ("JWT_EXPIRY", "soon"),
        ("REVOCATION_INTERVAL", "soon"),
        ("REVOCATION_MAX_AGE", "1s"),
        ("REVOCATION_MAX_AGE", "0"),
        ("MAX_SESSIONS", "0"),
        ("JWT_EXPIRY", "0"),
        ("JWT_EXPIRY", "-5m"),
        ("JWT_EXPIRY", "5 m"),
        ("JWT_EXPIRY", "1.5h"),
        ("JWT_ISSUER", "x" * 201),
        ("JWT_AUDIENCE", "caf\udce9"),
        ("CORS_ORIGINS", "https://app.example/"),
        ("CORS_ORIGINS", "https://App.example"),
        ("CORS_ORIGINS", "app.example"),
        ("CORS_ORIGINS", "https://a.example, b"),
        ("REFRESH_EXPIRY", "7w"),
        ("SESSION_MAX_AGE", "99999d"),
        ("DATABASE_TIMEOUT", "٣"),
        ("BCRYPT_ROUNDS", "9"),
        ("BCRYPT_ROUNDS", "32"),
        ("BCRYPT_ROUNDS", "twelve"),
        ("PASSWORD_MIN_LENGTH", "0"),
        ("PASSWORD_BLOCKLIST", "/nowhere/at/all"),
        ("PASSWORD_BLOCKLIST", sys.executable),
        ("HASH_THREADS", "0"),
        ("HASH_QUEUE", "-1"),
        ("POOL_SIZE", "0"),
        ("TRUSTED_PROXIES", "proxy.internal"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "10.0.0.1, 0.0.0.0/0"),
        ("TRUSTED_PROXIES", "::/0"),
        ("TRUSTED_PROXIES", "::ffff:0:0/96"),
        ("TRUSTED_PROXIES", "*"),
        ("RATE_LIMITS", "yes"),
        ("RATE_LIMIT_LOGIN_NAME", "20"),
        ("RATE_LIMIT_LOGIN_NAME", "0/15m"),
        ("RATE_LIMIT_LOGIN_NAME", "20/0m"),
        ("RATE_LIMIT_LOGIN_ADDRESS", "20/15"),
        ("RATE_LIMIT_LOGIN_ADDRESS", "20 per minute"),
        ("RATE_LIMIT_SIGNUP", "20/31d"),
        ("RATE_LIMIT_SIGNUP", "20/61m"),
        ("RATE_LIMIT_STORAGE", "memory://"),
        ("RATE_LIMIT_STORAGE", "redis://"),
        ("RATE_LIMIT_STORAGE", "redis://h:99999"),
        ("RATE_LIMIT_STORAGE", "redis://h/first"),
        ("RATE_LIMIT_STORAGE", "redis://:pw@h/0?timeout=1"),
        ("INTROSPECTION_SECRET", "short"),
        ("INTROSPECTION_SECRET", "x" * 31 + "%41"),
        ("INTROSPECTION_SECRET", "x" * 31 + "+"),
        ("INTROSPECTION_SECRET", SAMPLE_SECRET),
        ("INTROSPECTION_SECRET", SECRET),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_setting_that_is_unusable_is_refused_by_name(name: str, value: str) -> None:
    """REQUIREMENTS 5, 6."""
    with pytest.raises(InvalidSetting) as refusal:
        Settings.from_env({**GOOD, name: value})
    assert name in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1
    for secret in ("pw", "p/w", "p#w", SECRET, SAMPLE_SECRET, "x" * 31, "MFkw"):
        assert secret not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_EXPIRY", "1s"),
        ("SESSION_MAX_AGE", "3650d"),
        ("JWT_ISSUER", "x" * 200),
        ("BCRYPT_ROUNDS", "10"),
        ("BCRYPT_ROUNDS", "20"),
        ("HASH_QUEUE", "0"),
        ("POOL_SIZE", "1000"),
        ("JWT_SECRET", "x" * 32),
    ],
)
def test_the_last_value_that_can_be_used_is_taken(name: str, value: str) -> None:
    Settings.from_env({**GOOD, name: value})


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_may_be_in_a_file_which_ends_with_a_line_or_without(tmp_path: Path, ending: str) -> None:
    """REQUIREMENTS 6: as systemd's LoadCredential, Docker and Kubernetes hand them over."""
    secrets = {**GOOD, "JWT_SECRET_PREVIOUS": f"{'y' * 32},{'ü' * 32}"}
    secrets |= {"RATE_LIMIT_STORAGE": "redis://:pw@h/0", "INTROSPECTION_SECRET": "z" * 32}
    files = {}
    for name, text in secrets.items():
        (tmp_path / name).write_bytes(text.encode() + ending.encode())
        files[f"{name}_FILE"] = str(tmp_path / name)
    assert Settings.from_env(files) == Settings.from_env({**files, "JWT_SECRET": " "}) == Settings.from_env(secrets)


@pytest.mark.parametrize("text", ["y" * 32 + "\n" + "z" * 32, "\ufeff" + "y" * 32])
@pytest.mark.parametrize("name", ["DATABASE_URL", "JWT_SECRET", "JWT_SECRET_PREVIOUS"])
def test_a_secret_of_two_lines_or_with_a_mark_before_it_is_none(tmp_path: Path, name: str, text: str) -> None:
    """REQUIREMENTS 6: else it would be another secret than what its file shows, and nobody's tokens would verify."""
    (tmp_path / "secret").write_text(text, "utf-8")
    with pytest.raises(InvalidSetting, match=f"{name}_FILE must hold one line") as refusal:
        Settings.from_env({**GOOD, name: "", f"{name}_FILE": str(tmp_path / "secret")})
    assert "yyy" not in str(refusal.value)


def test_a_secret_may_be_random_bytes(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\xff\n\x80\r" * 8 + b"\xff")
    settings = Settings.from_env({**GOOD, "JWT_SECRET": "", "JWT_SECRET_FILE": str(tmp_path / "secret")})
    assert settings.keys.jwt_secret == (tmp_path / "secret").read_bytes()


def test_a_secret_is_in_one_place_only(tmp_path: Path) -> None:
    """REQUIREMENTS 6: else it would be a matter of luck which one counts."""
    (tmp_path / "secret").write_text("z" * 32)
    for name in ("DATABASE_URL", "JWT_SECRET", "JWT_SECRET_PREVIOUS"):
        both = {**GOOD, name: GOOD.get(name, "y" * 32), f"{name}_FILE": str(tmp_path / "secret")}
        with pytest.raises(InvalidSetting, match=f"{name} and {name}_FILE are both set"):
            Settings.from_env(both)


@pytest.mark.parametrize("name", ["DATABASE_URL", "JWT_SECRET", "JWT_SECRET_PREVIOUS"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        found = {key: value for key, value in GOOD.items() if key != name}
        with pytest.raises(InvalidSetting, match=f"{name}_FILE must name a readable file, not '{path}'"):
            Settings.from_env({**found, f"{name}_FILE": str(path)})
    (tmp_path / "short").write_text("too-short-a-secret")
    with pytest.raises(InvalidSetting, match=name) as refusal:
        Settings.from_env({**found, f"{name}_FILE": str(tmp_path / "short")})
    assert "too-short" not in str(refusal.value)


@pytest.mark.parametrize(
    ("where", "is_readable"),
    [
        ("127.0.0.1", False),
        ("[::1]", False),
        ("localhost", False),
        ("10.0.0.7", True),
        ("db.internal", True),
        ("[fd00::7]", True),
    ],
)
def test_a_database_elsewhere_without_tls_is_noticed(where: str, is_readable: bool) -> None:
    """REQUIREMENTS 65."""
    assert DatabaseAddress.from_url(f"mysql://auth:pw@{where}/app").is_readable_on_the_way is is_readable
    for options in (f"ssl_ca={certifi.where()}&{VERIFIED}", "unix_socket=/run/db.sock"):
        assert not DatabaseAddress.from_url(f"mysql://auth:pw@{where}/app?{options}").is_readable_on_the_way


@pytest.mark.parametrize("name", ["DATABASE_URL", "JWT_SECRET"])
def test_a_setting_that_is_missing_is_refused_by_name(name: str) -> None:
    """REQUIREMENTS 5."""
    with pytest.raises(InvalidSetting, match=f"{name} is not set"):
        Settings.from_env({key: value for key, value in GOOD.items() if key != name})


def test_the_sample_of_the_environment_is_refused_until_its_secret_is_changed() -> None:
    """REQUIREMENTS 4, 6: and everything else in it is the default."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    sample = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    with pytest.raises(InvalidSetting, match="JWT_SECRET"):
        Settings.from_env(sample)
    settings = Settings.from_env({**sample, "JWT_SECRET": SECRET})
    assert settings == Settings.from_env({"JWT_SECRET": SECRET, "DATABASE_URL": sample["DATABASE_URL"]})


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("*", ("*",)),
        ("null", ("null",)),
        ("https://a.example,http://[::1]:8080", ("https://a.example", "http://[::1]:8080")),
    ],
)
def test_origins_are_as_browsers_write_them(text: str, origins: tuple[str, ...]) -> None:
    """REQUIREMENTS 60."""
    assert Settings.from_env({**GOOD, "CORS_ORIGINS": text}).cors_origins == origins


def test_a_database_url_is_percent_decoded() -> None:
    address = DatabaseAddress.from_url("mysql://us%40er:p%40ss%23w%2F%25@127.0.0.1/my%20app?unix_socket=/run/db.sock")
    assert (address.user, address.password, address.name) == ("us@er", "p@ss#w/%", "my%20app"), "as yoyo reads it"
    assert (address.host, address.port, address.unix_socket) == ("127.0.0.1", 3306, "/run/db.sock")
    at_a_socket = DatabaseAddress.from_url("mysql://auth@/app?unix_socket=/run/db.sock")
    assert (at_a_socket.host, at_a_socket.password) == ("localhost", "")


def test_settings_can_be_printed_without_giving_a_secret_away() -> None:
    hidden = {"DATABASE_URL": "mysql://auth:hidden-word@db/app", "INTROSPECTION_SECRET": f"hidden-word-{'x' * 32}"}
    text = repr(Settings.from_env({**GOOD, **hidden}))
    assert SECRET not in text
    assert "hidden-word" not in text


def test_a_blocklist_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "common.txt"
    path.write_text("\ufeffpassword\niloveyou123\n", "utf-8")
    assert Settings.from_env({**GOOD, "PASSWORD_BLOCKLIST": str(path)}).password_blocklist == {
        "password",
        "iloveyou123",
    }


def test_all_secrets_verify_and_the_first_one_signs() -> None:
    keys = Settings.from_env({**GOOD, "JWT_SECRET_PREVIOUS": f" {'y' * 32} , ,{'z' * 32}"}).keys
    assert keys.secrets == (SECRET.encode(), b"y" * 32, b"z" * 32)
    assert "y" * 32 not in repr(keys)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_folder_of_keys_is_required_to_sign_with_one_and_a_secret_then_is_not(algorithm: str) -> None:
    """REQUIREMENTS 5: and what there is of secrets goes on verifying."""
    bare = {"DATABASE_URL": GOOD["DATABASE_URL"], "JWT_ALGORITHM": algorithm}
    with pytest.raises(InvalidSetting, match=f"JWT_KEYS is not set: JWT_ALGORITHM={algorithm}"):
        Settings.from_env({**bare, "JWT_SECRET": SECRET})
    keys = Settings.from_env({**bare, "JWT_KEYS": "/etc/keys", "JWT_SECRET_PREVIOUS": SECRET}).keys
    assert (keys.jwt_algorithm, keys.jwt_keys, keys.secrets) == (algorithm, Path("/etc/keys"), (SECRET.encode(),))
    with pytest.raises(InvalidSetting, match="JWT_SECRET is not set"):
        Settings.from_env({**bare, "JWT_ALGORITHM": "HS256", "JWT_KEYS": "/etc/keys"})


def test_a_limit_over_days_is_for_redis() -> None:
    """In the memory of a process, all that is counted is looked at again and again."""
    for text, seconds in (("20/30d", 30 * 86400), ("20/1h", 3600)):
        settings = Settings.from_env({**GOOD, "RATE_LIMIT_SIGNUP": text, "RATE_LIMIT_STORAGE": "redis://:pw@h/0"})
        assert settings.limits.rate_limit_signup == (20, seconds)
    assert Settings.from_env({**GOOD, "RATE_LIMIT_SIGNUP": "20/1h"}).limits.rate_limit_signup == (20, 3600)
    assert not Settings.from_env({**GOOD, "RATE_LIMITS": "off", "RATE_LIMIT_SIGNUP": "20/30d"}).limits.rate_limits


def test_the_settings_of_keys_can_be_read_alone() -> None:
    keys = KeySettings.from_env({"JWT_KEYS": "/etc/keys", "JWKS_MAX_AGE": "1h", "JWT_EXPIRY": "9d"})
    assert (keys.jwks_max_age, keys.longest_lifetime) == (3600, 9 * 86400)
    assert KeySettings.from_env({}) == KeySettings()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_service_exits_with_one_line_when_a_setting_is_unusable(workers: str) -> None:
    """No traceback, not the secret. uvicorn's supervisor of several workers stops too, but with 0."""
    command = [str(TOOLS / "uvicorn"), "--factory", "service.app:create_app", "--port", "0", "--workers", workers]
    env = environment(**{**GOOD, "JWT_SECRET": "too-short-a-secret"})
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=False)
    output = done.stdout + done.stderr
    assert "Traceback" not in output
    assert "too-short-a-secret" not in output
    assert "mstack-auth: JWT_SECRET must be 32 bytes at least; it has 18\n" in output
    assert done.returncode == (3 if workers == "1" else 0)
    if workers == "1":
        assert output.count("\n") == 1
