"""Password hashes that users bring along: which are taken over, and that they verify as any other."""

import asyncio
import base64
import hmac
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import hashes
from service.hashes import UnusableHash
from service.passwords import MAX_FOREIGN_BYTES, Passwords
from tests.newcomers import PASSWORD, foreign_hashes, schemes
from tests.server import ROOT, SECRET, untraced

KNOWN = foreign_hashes(PASSWORD)
LONG = "é" * 60  # 120 bytes


def wordpress(password: str) -> str:
    """As WordPress 6.8 does: bcrypt of an HMAC of the password."""
    digest = base64.b64encode(hmac.digest(b"wp-sha384", password.encode(), "sha384"))
    return "$wp" + bcrypt.hashpw(digest, bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(rounds=4, threads=1, queue=5)
    yield made
    made.close()


@pytest.mark.parametrize("name", [*KNOWN, "wordpress"])
async def test_a_hash_of_each_scheme_verifies_and_is_renewed_as_bcrypt(passwords: Passwords, name: str) -> None:
    """REQUIREMENTS 38."""
    stored = KNOWN.get(name) or wordpress(PASSWORD)
    hashes.check(stored)
    assert await passwords.verify("another " + PASSWORD, stored) == (False, None)
    matches, renewed = await passwords.verify(PASSWORD, stored)
    assert matches
    if name.startswith("bcrypt"):
        assert renewed is None, "its cost is today's"
    else:
        assert renewed is not None
        assert renewed.startswith("$2b$04$")
        assert await passwords.verify(PASSWORD, renewed) == (True, None)


@pytest.mark.parametrize("made_by", [wordpress, schemes.phpass.using(rounds=7).hash])
async def test_a_password_with_quotes_is_the_one_that_was_typed_into_wordpress(
    passwords: Passwords, made_by: Callable[[str], str]
) -> None:
    """Which hashes it with PHP's slashes in front of them, where it comes from a form."""
    typed = """it's a "right" one\\"""
    for stored in (made_by(r"it\'s a \"right\" one" + "\\\\"), made_by(typed)):
        matches, renewed = await passwords.verify(typed, stored)
        assert matches
        assert renewed
        assert await passwords.verify(typed, renewed) == (True, None)
        assert not (await passwords.verify("it's a right one", stored)).matches


@pytest.mark.parametrize("made_by", [wordpress, schemes.phpass.using(rounds=7).hash])
async def test_a_password_with_space_around_it_is_the_one_that_was_typed_into_wordpress(
    passwords: Passwords, made_by: Callable[[str], str]
) -> None:
    """It hashes what is between, whoever types it; NO-BREAK SPACE is not space to PHP's trim."""
    typed = "\t it's  the one\v\r\n"
    for stored in (made_by(r"it\'s  the one"), made_by("it's  the one")):
        assert (await passwords.verify(typed, stored)).matches
        assert not (await passwords.verify(f"\N{NO-BREAK SPACE}{typed}", stored)).matches


async def test_phpass_of_others_than_wordpress_has_what_was_typed(passwords: Passwords) -> None:
    typed = " it's theirs "
    assert (await passwords.verify(typed, schemes.phpass.using(rounds=7).hash(typed))).matches


async def test_a_wrong_password_takes_as_many_rounds_whatever_the_spellings(monkeypatch: pytest.MonkeyPatch) -> None:
    """REQUIREMENTS 40: as many as for an unknown user, where the hash has fewer."""
    spent: list[int] = []
    context = Passwords(rounds=10, threads=1, queue=5)
    verify = context._context.verify

    def counting(secret: str, stored_hash: str) -> bool:
        spent.append(2 ** int(stored_hash[4:6]))
        return bool(verify(secret, stored_hash))

    monkeypatch.setattr(context._context, "verify", counting)
    for stored in (None, KNOWN["bcrypt 2y"], wordpress(PASSWORD)):
        for password in ("a wrong guess", " a wrong 'guess'\n"):
            spent.clear()
            assert await context.verify(password, stored) == (False, None)
            assert sum(spent) == 2**10, (stored, password)
    context.close()


async def test_bcrypt_of_a_lower_cost_is_renewed_and_of_a_higher_one_is_kept() -> None:
    """REQUIREMENTS 38."""
    dearer = Passwords(rounds=5, threads=1, queue=5)
    _, renewed = await dearer.verify(PASSWORD, KNOWN["bcrypt 2y"])
    assert renewed is not None
    assert renewed.startswith("$2b$05$")
    assert await dearer.verify(PASSWORD, schemes.bcrypt.using(rounds=6).hash(PASSWORD)) == (True, None)
    dearer.close()


@pytest.mark.parametrize("name", [name for name in KNOWN if not name.startswith("bcrypt")])
async def test_a_password_that_bcrypt_has_no_room_for_matches_and_its_hash_stays(
    passwords: Passwords, name: str
) -> None:
    """REQUIREMENTS 34: and no part of it is cut off."""
    stored = foreign_hashes(LONG)[name]
    assert await passwords.verify(LONG, stored) == (True, None)
    assert await passwords.verify(LONG[:-1], stored) == (False, None)
    assert await passwords.verify(LONG[:36], stored) == (False, None)


async def test_wordpress_reads_all_of_a_long_password(passwords: Passwords) -> None:
    """REQUIREMENTS 34."""
    assert await passwords.verify(LONG, wordpress(LONG)) == (True, None)
    assert await passwords.verify(LONG[:-1], wordpress(LONG)) == (False, None)


async def test_a_nul_matches_where_the_scheme_has_room_for_it(
    passwords: Passwords, caplog: pytest.LogCaptureFixture
) -> None:
    stored = schemes.argon2.using(type="ID", memory_cost=64, rounds=1).hash("nul\0inside")
    assert await passwords.verify("nul\0inside", stored) == (True, None)
    for name, each in KNOWN.items():
        assert await passwords.verify(f"\0{PASSWORD}", each) == (False, None), name
    assert "password_hash_unusable" not in caplog.text


async def test_a_password_of_any_length_takes_no_time(passwords: Passwords, caplog: pytest.LogCaptureFixture) -> None:
    """REQUIREMENTS 46: sha512_crypt would read it in each of its rounds."""
    for length in (MAX_FOREIGN_BYTES + 1, 4096):  # passlib itself reads no more
        too_long = "x" * length
        stored = schemes.sha512_crypt.using(rounds=1000).hash(too_long)
        assert await passwords.verify(too_long, stored) == (False, None), "the right one, but too long"
    longest = "x" * MAX_FOREIGN_BYTES
    assert await passwords.verify(longest, schemes.sha512_crypt.using(rounds=1000).hash(longest)) == (True, None)
    assert "password_hash_unusable" not in caplog.text


@pytest.mark.parametrize("name", ["sha512_crypt", "django", "phpass", "argon2"])
async def test_the_event_loop_goes_on_while_a_foreign_hash_is_compared(passwords: Passwords, name: str) -> None:
    """REQUIREMENTS 46: crypt(3), for one, would hold Python's lock all the while."""
    stored = {
        "sha512_crypt": schemes.sha512_crypt.using(rounds=300_000),
        "django": schemes.django_pbkdf2_sha256.using(rounds=500_000),
        "phpass": schemes.phpass.using(rounds=18),
        "argon2": schemes.argon2.using(type="ID", memory_cost=65_536, rounds=3, parallelism=1),
    }[name].hash("")
    hashes.check(stored)
    comparing = asyncio.create_task(passwords.verify(PASSWORD, stored))
    began = last = time.monotonic()
    longest = 0.0
    while not comparing.done():
        await asyncio.sleep(0.001)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert longest < (last - began) / 2


def test_a_thread_that_hashes_in_python_gives_the_event_loop_its_turn_sooner_than_python_would() -> None:
    """REQUIREMENTS 46: sha512_crypt and phpass hold Python's lock until the event loop has waited for so long."""
    settings = {"DATABASE_URL": "mysql://nobody@127.0.0.1:1/nothing", "JWT_SECRET": SECRET, "LOG_LEVEL": "ERROR"}
    script = "import sys; from service.app import create_app; create_app(); print(sys.getswitchinterval())"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=untraced(**settings), stdout=subprocess.PIPE, text=True, check=True)
    assert float(done.stdout) < sys.getswitchinterval() / 5


TOO_COSTLY = {
    "$2b$16$" + KNOWN["bcrypt 2b"][7:]: "a hash of bcrypt with 16 rounds, not 4 to 15",
    "$wp$2y$31$" + KNOWN["bcrypt 2y"][7:]: "a hash of bcrypt in WordPress with 31 rounds, not 4 to 14",
    KNOWN["argon2id"].replace("m=64", "m=262145"): "a hash of argon2id with m=262145, not 8 p to 262144",
    KNOWN["argon2id"].replace("t=1", "t=99999"): "a hash of argon2id with m times t = 6399936, not 1048576 at most",
    KNOWN["argon2id"].replace("m=64,t=1,p=4", "m=64,t=1,p=9"): "a hash of argon2id with m=64, not 8 p to 262144",
    KNOWN["argon2id"].replace(
        "m=64,t=1,p=4", "m=128,t=65,p=16"
    ): "a hash of argon2id with t times p = 1040, not 1024 at most",
    KNOWN["argon2id"].replace("m=64,t=1,p=4", "m=999,t=1,p=17"): "a hash of argon2id with p=17, not 16 at most",
    KNOWN["django"].replace("$1000$", "$3000001$"): "a hash of Django's pbkdf2_sha256 with 3000001 rounds, not 1 to ",
    KNOWN["pbkdf2-sha256"].replace("$1000$", "$9000000$"): "a hash of pbkdf2-sha256 with 9000000 rounds, not 1 to ",
    KNOWN["pbkdf2-sha512"].replace("$1000$", "$9000000$"): "a hash of pbkdf2-sha512 with 9000000 rounds, not 1 to ",
    KNOWN["sha512_crypt"].replace("=1000$", "=999999999$"): "a hash of sha512_crypt with 999999999 rounds, not 1000 ",
    KNOWN["sha512_crypt"].replace("=1000$", "=999$"): "a hash of sha512_crypt with 999 rounds, not 1000 to ",
    "$P$" + "S" + KNOWN["phpass P"][4:]: "a hash of phpass with 2^30 rounds, not 2^7 to 2^18",
    "$H$" + "." + KNOWN["phpass H"][4:]: "a hash of phpass with 2^0 rounds, not 2^7 to 2^18",
}


@pytest.mark.parametrize("cost", ["m=32,t=1,p=4", "m=262144,t=4,p=1", "m=128,t=1,p=16"])
def test_an_argon2_hash_at_its_limit_is_taken(cost: str) -> None:
    hashes.check(KNOWN["argon2id"].replace("m=64,t=1,p=4", cost))


def test_a_hash_is_no_longer_than_its_column() -> None:
    form, salt, digest = KNOWN["django"].rsplit("$", 2)
    longest = f"{form}${salt.ljust(hashes.LONGEST - len(form) - len(digest) - 2, 'x')}${digest}"
    hashes.check(longest)
    with pytest.raises(UnusableHash, match="more than 255 characters"):
        hashes.check(longest.replace("x$", "xx$"))


@pytest.mark.parametrize(("stored", "reason"), TOO_COSTLY.items(), ids=TOO_COSTLY.values())
def test_a_hash_that_would_keep_a_thread_is_refused_with_its_cost(stored: str, reason: str) -> None:
    """REQUIREMENTS 46."""
    with pytest.raises(UnusableHash) as refusal:
        hashes.check(stored)
    assert str(refusal.value).startswith(reason)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "hunter2-plain-text",
        "$hunter2$plain$text",
        "0cc175b9c0f1b6a831c399e269772661",
        "$1$deadbeef$0Huu6KHrKLVWfqa4WljDE0",
        "$2$04$" + KNOWN["bcrypt 2b"][7:],
        "$2x$04$" + KNOWN["bcrypt 2b"][7:],
        KNOWN["bcrypt 2b"][:-1],
        KNOWN["bcrypt 2b"] + "x",
        KNOWN["bcrypt 2b"] + "\n",
        KNOWN["bcrypt 2b"][:28] + "x" + KNOWN["bcrypt 2b"][29:],
        KNOWN["argon2id"].replace("argon2id", "argon2i"),
        KNOWN["argon2id"].replace("v=19", "v=20"),
        KNOWN["argon2id"].replace("t=1,", "t=0,"),
        KNOWN["argon2id"].rpartition("$")[0],
        KNOWN["argon2id"][:-1] + "B",
        KNOWN["argon2id"] + "x" * 300,
        KNOWN["django"].replace("$1000$", "$0$"),
        KNOWN["django"].replace("$1000$", "$٣$"),
        KNOWN["django"].replace("$1000$", "$" + "9" * 20 + "$"),
        KNOWN["django"] + "é",
        KNOWN["pbkdf2-sha512"][:-1],
        KNOWN["sha512_crypt"].replace("rounds=1000", "rounds="),
        KNOWN["phpass P"] + " ",
    ],
    ids=range(24),  # the hashes themselves are others in each process
)
def test_what_is_no_known_hash_is_refused_and_not_repeated(stored: str) -> None:
    """REQUIREMENTS 20: it may be the password itself."""
    with pytest.raises(UnusableHash) as refusal:
        hashes.check(stored)
    assert not stored or stored not in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_is_accepted_can_be_read(data: st.DataObject) -> None:
    """A scheme's own reader would otherwise refuse it at each login, when nobody can mend it any more."""
    stored = data.draw(st.sampled_from(sorted(KNOWN.values())))
    place = data.draw(st.integers(stored.find("$", 3), len(stored) - 1))
    changed = stored[:place] + data.draw(st.sampled_from("./+=$,0aZ")) + stored[place + data.draw(st.integers(0, 2)) :]
    try:
        hashes.check(changed)
    except UnusableHash:
        return
    records: list[logging.LogRecord] = []

    class _Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = _Keeping()
    logger = logging.getLogger("service.passwords")
    logger.addHandler(handler)
    passwords = Passwords(rounds=4, threads=1, queue=1)
    try:
        asyncio.run(passwords.verify(PASSWORD, changed))
    finally:
        passwords.close()
        logger.removeHandler(handler)
    assert not records, changed
