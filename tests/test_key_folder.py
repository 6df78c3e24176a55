"""The folder of keys: what may be done to it and when, by any number of hands, and what a service makes of it."""

import asyncio
import json
import logging
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from cryptography.hazmat.primitives import serialization

from service import keywatch
from service.keyfolder import KeyFolder
from service.keyrotation import PICK_UP, KeyRotation, Listed, Refused, UnknownKey, rfc3339
from service.keys import KeyRing, UnusableKey
from service.keywatch import KeyWatch
from tests.server import SECRET
from tests.signers import ES256, RS256, Mode, new_ec

NOW = 1_800_000_000
MAX_AGE, LIFETIME = 300, 7 * 86400


@pytest.fixture
def rotation(tmp_path: Path) -> KeyRotation:
    return KeyRotation(folder=KeyFolder(tmp_path / "keys"), max_age=MAX_AGE, longest_lifetime=LIFETIME)


def put(rotation: KeyRotation, *modes: Mode) -> None:
    """As an operator does, with keys of his own."""
    rotation.folder.path.mkdir(exist_ok=True)
    for mode in modes:
        (rotation.folder.path / f"own-{mode.key.kid}.pem").write_bytes(mode.pem)


def states(rotation: KeyRotation) -> dict[str, str]:
    return {listed.kid: listed.state for listed in rotation.list(NOW)}


def one(rotation: KeyRotation, kid: str) -> Listed:
    [found] = [listed for listed in rotation.list(NOW) if listed.kid == kid]
    return found


def ring_of(rotation: KeyRotation, algorithm: str = "ES256") -> KeyRing:
    return KeyWatch(algorithm, [SECRET.encode()], rotation.folder.path).ring


def fail_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the disk be full once so many files were written."""
    left, rename = iter(range(writes)), os.rename

    def rename_if_there_is_room(path: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        rename(path, target)
        return target

    monkeypatch.setattr(Path, "rename", rename_if_there_is_room)


def test_the_first_key_signs_at_once_and_the_next_ones_only_verify(rotation: KeyRotation) -> None:
    first = rotation.new("ES256", NOW)
    second = rotation.new("RS256", NOW + 1)
    assert states(rotation) == {first: "signing", second: "published"}
    assert [listed.algorithm for listed in rotation.list(NOW)] == ["ES256", "RS256"]
    assert [listed.activated for listed in rotation.list(NOW)] == [NOW, None]
    ring = ring_of(rotation)
    assert (ring.signing.kid, ring.kids) == (first, [first, second])


def test_a_key_signs_only_once_everybody_can_know_it(rotation: KeyRotation) -> None:
    """Published for as long as a set may be kept, and for as long as workers take to see it."""
    first, second = rotation.new("ES256", NOW), rotation.new("ES256", NOW)
    start = NOW + MAX_AGE + PICK_UP
    assert PICK_UP >= 3 * keywatch.POLL
    assert one(rotation, second).activate_from == start
    for now in (NOW, start - 1):
        with pytest.raises(Refused, match=f"may sign from {rfc3339(start)}"):
            rotation.activate(second, now)
        assert states(rotation) == {first: "signing", second: "published"}
    rotation.activate(second, start)
    assert states(rotation) == {second: "signing", first: "superseded"}
    assert (one(rotation, first).superseded, one(rotation, second).activated) == (start, start)
    assert ring_of(rotation).signing.kid == second


def test_a_key_is_retired_only_once_its_last_token_has_expired(rotation: KeyRotation) -> None:
    first, second = rotation.new("ES256", NOW), rotation.new("ES256", NOW)
    changed = NOW + MAX_AGE + PICK_UP
    rotation.activate(second, changed)
    end = changed + LIFETIME + PICK_UP
    assert one(rotation, first).retire_from == end
    with pytest.raises(Refused, match=f"may be retired from {rfc3339(end)}"):
        rotation.retire(first, end - 1)
    assert ring_of(rotation).kids == [second, first]
    rotation.retire(first, end)
    assert ring_of(rotation).kids == [second]
    assert [path.name for path in rotation.folder.path.glob("*.pem")] == [f"{second}.pem"]


def test_force_does_at_once_what_would_log_somebody_out(rotation: KeyRotation) -> None:
    first, second = rotation.new("ES256", NOW), rotation.new("ES256", NOW)
    rotation.activate(second, NOW, force=True)
    rotation.retire(first, NOW, force=True)
    assert states(rotation) == {second: "signing"}


def test_to_activate_the_key_that_signs_changes_nothing(rotation: KeyRotation) -> None:
    """Not even where it was made just now, as the first one of a folder."""
    kid = rotation.new("ES256", NOW)
    before = rotation.list(NOW)
    rotation.activate(kid, NOW + 1)
    assert rotation.list(NOW) == before


def test_the_signing_key_is_never_retired(rotation: KeyRotation) -> None:
    """Not by force either: the service could not start again."""
    kid = rotation.new("ES256", NOW)
    for force in (False, True):
        with pytest.raises(Refused, match="activate another one first"):
            rotation.retire(kid, NOW + 10 * LIFETIME, force=force)
    assert states(rotation) == {kid: "signing"}


def test_a_key_that_never_signed_is_retired_at_any_time(rotation: KeyRotation) -> None:
    first, second = rotation.new("ES256", NOW), rotation.new("ES256", NOW)
    rotation.retire(second, NOW)
    assert states(rotation) == {first: "signing"}


def test_a_rotation_can_be_turned_back(rotation: KeyRotation) -> None:
    """The key before has been published long enough, and signs until it is superseded once more."""
    first, second = rotation.new("ES256", NOW), rotation.new("ES256", NOW)
    rotation.activate(second, NOW + 1000)
    rotation.activate(first, NOW + 1001)
    rotation.activate(first, NOW + 1002)
    assert states(rotation) == {first: "signing", second: "superseded"}
    assert (one(rotation, first).activated, one(rotation, first).superseded) == (NOW + 1001, None)
    assert one(rotation, second).retire_from == NOW + 1001 + LIFETIME + PICK_UP


@pytest.mark.parametrize("algorithm", ["ES256", None])
@pytest.mark.parametrize("force", [False, True])
def test_a_key_for_another_algorithm_than_the_services_does_not_get_to_sign(
    rotation: KeyRotation, algorithm: str | None, force: bool
) -> None:
    """Also in haste, without the settings of the service: it would go on with the key that may have leaked."""
    first, second = rotation.new("ES256", NOW), rotation.new("RS256", NOW)
    with pytest.raises(Refused, match="is for RS256, not ES256: set JWT_ALGORITHM"):
        rotation.activate(second, NOW + 1000, algorithm=algorithm, force=force)
    assert states(rotation)[first] == "signing"
    rotation.activate(second, NOW + 1000, algorithm="RS256", force=force)
    assert states(rotation)[second] == "signing"


def test_a_key_is_for_the_algorithm_of_the_one_that_signs_where_nothing_else_is_said(rotation: KeyRotation) -> None:
    first, second = rotation.new("RS256", NOW), rotation.new(None, NOW)
    rotation.activate(second, NOW, force=True)
    rotation.retire(first, NOW, force=True)
    assert ring_of(rotation, "RS256").kids == [second]
    (rotation.folder.path / f"{second}.pem").unlink()
    third = rotation.new(None, NOW)
    rotation.activate(third, NOW, force=True)
    assert [listed.algorithm for listed in rotation.list(NOW)] == ["ES256", None], "of the lost one nothing is known"


@pytest.mark.parametrize("kid", ["nobody", "", "../ring", "ring.json"])
def test_what_has_no_such_kid_is_said_so(rotation: KeyRotation, kid: str) -> None:
    rotation.new("ES256", NOW)
    for force in (False, True):
        with pytest.raises(UnknownKey, match="there is no"):
            rotation.activate(kid, NOW, force=force)
        with pytest.raises(UnknownKey, match="there is no"):
            rotation.retire(kid, NOW, force=force)


def test_one_key_of_the_operators_own_signs_without_a_record_and_nothing_is_written(rotation: KeyRotation) -> None:
    put(rotation, ES256)
    assert ES256.key.kid
    rotation.folder.path.chmod(0o500)
    before = rotation.folder.state()
    assert ring_of(rotation).signing.kid == ES256.key.kid
    assert one(rotation, ES256.key.kid).state == "signing"
    assert one(rotation, ES256.key.kid).created is None, "nobody knows"
    assert rotation.folder.state() == before
    assert len(before) == 1


def test_a_key_made_beside_the_operators_own_leaves_that_one_signing(rotation: KeyRotation) -> None:
    put(rotation, ES256)
    assert ES256.key.kid
    made = rotation.new("ES256", NOW)
    assert states(rotation) == {ES256.key.kid: "signing", made: "published"}
    own = one(rotation, ES256.key.kid)
    assert (own.created, own.activated, own.superseded) == (NOW, NOW, None)
    rotation.activate(made, NOW + 1000)
    rotation.retire(ES256.key.kid, NOW + 1000 + LIFETIME + PICK_UP)
    assert states(rotation) == {made: "signing"}
    assert len(list(rotation.folder.path.glob("*.pem"))) == 1, "whatever its file was called"


def test_a_key_is_made_so_that_a_stop_at_any_point_leaves_the_one_that_signs(
    rotation: KeyRotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails at each write in turn."""
    put(rotation, ES256)
    for allowed in (0, 1, 2):
        fail_after(allowed, monkeypatch)
        with pytest.raises(OSError, match="No space"):
            rotation.new("ES256", NOW)
        assert ring_of(rotation).signing.kid == ES256.key.kid, allowed


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_a_first_key_whose_making_was_stopped_leaves_a_folder_for_another(
    rotation: KeyRotation, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    with monkeypatch.context() as patched, suppress(OSError):
        fail_after(allowed, patched)
        rotation.new("ES256", NOW)
    rotation.new("ES256", NOW + 1)
    assert "signing" in states(rotation).values()


def test_a_key_that_somebody_put_there_verifies_and_waits_as_if_it_had_just_signed_elsewhere(
    rotation: KeyRotation,
) -> None:
    first = rotation.new("ES256", NOW)
    put(rotation, ES256)
    kid = ES256.key.kid
    assert kid
    assert ring_of(rotation).read(ES256.token(b"anything")) == b"anything"
    assert states(rotation) == {first: "signing", kid: "superseded"}
    with pytest.raises(Refused, match=rfc3339(NOW + 50 + MAX_AGE + PICK_UP)):
        rotation.activate(kid, NOW + 50)
    with pytest.raises(Refused, match=rfc3339(NOW + 50 + LIFETIME + PICK_UP)):
        rotation.retire(kid, NOW + 60)
    rotation.activate(kid, NOW + 50 + MAX_AGE + PICK_UP)
    assert states(rotation) == {kid: "signing", first: "superseded"}


def test_a_retirement_that_is_refused_notes_since_when_the_key_is_there(rotation: KeyRotation) -> None:
    rotation.new("ES256", NOW)
    put(rotation, ES256)
    assert ES256.key.kid
    for now in (NOW + 50, NOW + 60):
        with pytest.raises(Refused, match=rfc3339(NOW + 50 + LIFETIME + PICK_UP)):
            rotation.retire(ES256.key.kid, now)


def test_of_several_keys_without_a_record_none_signs(rotation: KeyRotation) -> None:
    """As secrets go on verifying, HS256 can do without."""
    put(rotation, ES256, RS256)
    with pytest.raises(UnusableKey, match="no key signs"):
        ring_of(rotation)
    assert set(ring_of(rotation, "HS256").kids) == {ES256.key.kid, RS256.key.kid}
    assert set(states(rotation).values()) == {"superseded"}
    assert ES256.key.kid
    rotation.activate(ES256.key.kid, NOW, force=True)
    assert ring_of(rotation).signing.kid == ES256.key.kid


def test_a_key_that_is_there_twice_is_one_and_goes_as_one(rotation: KeyRotation) -> None:
    first = rotation.new("ES256", NOW)
    put(rotation, ES256)
    (rotation.folder.path / "copy.pem").write_bytes(ES256.pem)
    assert ES256.key.kid
    rotation.retire(ES256.key.kid, NOW, force=True)
    assert ring_of(rotation).kids == [first]


def test_everything_is_for_its_owner_alone(rotation: KeyRotation) -> None:
    """REQUIREMENTS 6."""
    mask = os.umask(0)
    try:
        rotation.new("ES256", NOW)
    finally:
        os.umask(mask)
    files = list(rotation.folder.path.iterdir())
    assert {path.suffix for path in files} == {".pem", ".json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(rotation.folder.path.stat().st_mode) == 0o700


def test_what_root_writes_is_for_the_owner_of_the_folder(rotation: KeyRotation) -> None:
    """Else a slip of the administrator would take the keys away from the service."""
    around = rotation.folder.path.parent
    if os.geteuid() == 0:
        os.chown(around, 12345, 54321)
    rotation.new("ES256", NOW)
    made = [rotation.folder.path, *rotation.folder.path.iterdir()]
    owners = {(found.stat().st_uid, found.stat().st_gid) for found in made}
    assert owners == {(around.stat().st_uid, around.stat().st_gid)}


def test_what_lies_where_a_key_is_written_is_not_followed(rotation: KeyRotation, tmp_path: Path) -> None:
    """REQUIREMENTS 6: else the owner of the folder would get, by root's hand, any file that root may write."""
    rotation.folder.make()
    other = tmp_path / "other"
    other.write_text("another's")
    other.chmod(0o644)
    (rotation.folder.path / ".unfinished").symlink_to(other)
    kid = rotation.new("ES256", NOW)
    assert (other.read_text(), stat.S_IMODE(other.stat().st_mode)) == ("another's", 0o644)
    assert stat.S_IMODE((rotation.folder.path / f"{kid}.pem").lstat().st_mode) == 0o600


def test_a_pipe_is_no_key_and_keeps_nobody_waiting(rotation: KeyRotation) -> None:
    """At the start, or in a command, nothing would tell of it."""
    rotation.new("ES256", NOW)
    os.mkfifo(rotation.folder.path / "another.pem")
    with pytest.raises(UnusableKey, match=r"another\.pem: it is a pipe"):
        rotation.folder.read()


def test_many_hands_at_once_lose_nothing(rotation: KeyRotation) -> None:
    """Each has a folder object of its own, as each process has; 24 keys are made and a third of them retired."""

    def own() -> KeyRotation:
        return KeyRotation(folder=KeyFolder(rotation.folder.path), max_age=MAX_AGE, longest_lifetime=LIFETIME)

    def work(number: int) -> str | None:
        kid = own().new("ES256", NOW)
        if number % 3:
            return kid
        with suppress(Refused):  # the first one of all signs
            own().retire(kid, NOW)
            return None
        return kid

    with ThreadPoolExecutor(8) as pool:
        kept = {kid for kid in pool.map(work, range(24)) if kid}
    listed = rotation.list(NOW)
    assert {key.kid for key in listed} == kept
    assert len(kept) in {16, 17}
    assert [key.state for key in listed].count("signing") == 1
    assert {path.stem for path in rotation.folder.path.glob("*.pem")} == kept


def test_who_reads_while_others_write_sees_whole_files_only(rotation: KeyRotation) -> None:
    """What was read in the midst of a change is read again."""
    first = rotation.new("ES256", NOW)
    done = threading.Event()
    watch = KeyWatch("ES256", [], rotation.folder.path)
    seen = set()

    def read() -> None:
        while not done.is_set():
            ring = watch._read_patiently()
            assert ring.signing.kid == first
            seen.add(len(ring.kids))

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            for _ in range(60):
                kid = rotation.new("ES256", NOW)
                rotation.retire(kid, NOW)
        finally:
            done.set()
        reading.result(10)
    assert seen <= {1, 2}


def corrupt_half(path: Path) -> None:
    """A PEM that is being copied: its first half."""
    pem = next(path.glob("*.pem"))
    pem.write_bytes(pem.read_bytes()[:100])


def lose_a_key(path: Path) -> None:
    next(path.glob("*.pem")).unlink()


def name_a_stranger(path: Path) -> None:
    (path / "ring.json").write_text('{"signing":"a-stranger","keys":{}}')


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "half a PEM": (corrupt_half, "not a private key"),
    "no PEM of a recorded key": (lose_a_key, "is missing"),
    "no PEM of the signing key": (name_a_stranger, "the PEM of a-stranger is missing"),
    "half a record": (lambda path: (path / "ring.json").write_text('{"keys":'), "ring.json: "),
    "another record": (
        lambda path: (path / "ring.json").write_text('{"keys":{"x":{"created":"today"}}}'),
        "ring.json: ",
    ),
    "a record in other letters": (
        lambda path: (path / "ring.json").write_bytes(b'{"signing":"\xff","keys":{}}'),
        "ring.json: ",
    ),
    "a record without end": (
        lambda path: (path / "ring.json").write_text('{"keys":' + '{"a":' * 100_000),
        "ring.json: ",
    ),
    "a folder called like a key": (lambda path: (path / "x.pem").mkdir(), "Is a directory"),
    "a key that points nowhere": (lambda path: (path / "x.pem").symlink_to("nowhere"), "No such file"),
    "no folder": (lambda path: path.rename(path.with_name("elsewhere")), "No such file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_one_clear_line(rotation: KeyRotation, case: str) -> None:
    rotation.new("ES256", NOW)
    rotation.new("ES256", NOW)
    damage, reason = BROKEN[case]
    damage(rotation.folder.path)
    with pytest.raises(UnusableKey, match=reason) as refusal:
        ring_of(rotation)
    assert str(refusal.value).startswith(str(rotation.folder.path))
    assert len(str(refusal.value).splitlines()) == 1


def test_a_key_whose_pem_is_lost_can_be_retired(rotation: KeyRotation) -> None:
    first, second = rotation.new("ES256", NOW), rotation.new("ES256", NOW)
    (rotation.folder.path / f"{second}.pem").unlink()
    assert states(rotation) == {first: "signing", second: "missing"}
    assert one(rotation, second).activate_from is None
    with pytest.raises(UnknownKey):
        rotation.activate(second, NOW + LIFETIME)
    rotation.retire(second, NOW)
    assert ring_of(rotation).kids == [first]


def test_what_is_not_a_key_or_not_yet_one_is_passed_over(rotation: KeyRotation) -> None:
    kid = rotation.new("ES256", NOW)
    state = rotation.folder.state()
    for name in ("README", ".hidden.pem", ".unfinished", "key.pem.bak", "ca.crt"):
        (rotation.folder.path / name).write_text("nonsense")
    assert ring_of(rotation).kids == [kid]
    assert rotation.folder.state() == state


def test_an_empty_folder_will_do_for_hs256_only(rotation: KeyRotation) -> None:
    rotation.folder.path.mkdir()
    assert json.loads(ring_of(rotation, "HS256").jwks) == {"keys": []}
    with pytest.raises(UnusableKey, match="no key signs"):
        ring_of(rotation)
    rotation.new("RS256", NOW)
    with pytest.raises(UnusableKey, match="is for RS256, not ES256"):
        ring_of(rotation)


async def test_keys_that_are_all_gone_at_once_are_missed_under_hs256_too(
    rotation: KeyRotation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a volume is not mounted: their tokens would be refused, and their users logged out."""
    monkeypatch.setattr(keywatch, "POLL", 0.01)
    kid = rotation.new("ES256", NOW)
    watch = KeyWatch("HS256", [SECRET.encode()], rotation.folder.path)
    async with watching(watch) as rings:
        away = rotation.folder.path.rename(rotation.folder.path.with_name("away"))
        rotation.folder.path.mkdir()
        await until(lambda: "keys_unusable" in caplog.messages)
        assert len(rings) == 1
        rotation.folder.path.rmdir()
        away.rename(rotation.folder.path)
        other = rotation.new("ES256", NOW)
        await until(lambda: set(rings[-1].kids) == {kid, other})


@asynccontextmanager
async def watching(watch: KeyWatch) -> AsyncIterator[list[KeyRing]]:
    """Gives the rings that a service would use."""
    rings = [watch.ring]
    task = asyncio.create_task(watch.follow(rings.append))
    try:
        yield rings
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def hanging(path: Path) -> AsyncIterator[BinaryIO]:
    """A pipe in the place of a file, once somebody waits for what it holds, as on a network that is gone."""
    path.unlink()
    os.mkfifo(path)
    async with asyncio.timeout(20):
        while True:
            with suppress(OSError):  # nobody reads it yet
                descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                break
            await asyncio.sleep(0.01)
    with open(descriptor, "wb") as pipe:  # noqa: PTH123
        try:
            yield pipe
        finally:
            if path.is_fifo():  # else whoever reads it once more would wait for ever
                path.unlink()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_running_service_takes_over_each_change_and_keeps_the_last_good_ring(
    rotation: KeyRotation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A line when it turns bad, not one each time it looks; and a line for each new ring."""
    monkeypatch.setattr(keywatch, "POLL", 0.01)
    caplog.set_level(logging.INFO, keywatch.__name__)
    first = rotation.new("ES256", NOW)
    watch = KeyWatch("ES256", [], rotation.folder.path)
    async with watching(watch) as rings:
        second = rotation.new("ES256", NOW)
        await until(lambda: rings[-1].kids == [first, second])
        rotation.activate(second, NOW, force=True)
        await until(lambda: rings[-1].kids == [second, first])
        pem = (rotation.folder.path / f"{first}.pem").read_bytes()
        (rotation.folder.path / f"{first}.pem").write_bytes(pem[:100])
        await until(lambda: "keys_unusable" in caplog.messages)
        polled = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, polled.set)
        await polled.wait()
        assert rings[-1].kids == [second, first]
        assert watch.is_unusable
        (rotation.folder.path / f"{first}.pem").write_bytes(pem)
        rotation.retire(first, NOW, force=True)
        await until(lambda: rings[-1].kids == [second])
        assert not watch.is_unusable
    assert caplog.messages == ["keys_changed", "keys_changed", "keys_unusable", "keys_changed"]
    signing = [record.__dict__.get("signing") for record in caplog.records]
    assert signing == [first, second, None, second]
    assert caplog.records[2].__dict__["reason"].endswith("it is not a private key in PEM, without a password")


async def test_a_folder_that_hangs_is_told_and_the_service_goes_on_when_it_is_back(
    rotation: KeyRotation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keywatch, "POLL", 0.01)
    monkeypatch.setattr(keywatch, "LONGEST_READING", 0.5)
    first = rotation.new("ES256", NOW)
    watch = KeyWatch("ES256", [], rotation.folder.path)
    second = rotation.new("ES256", NOW)
    path = rotation.folder.path / "ring.json"
    record = path.read_bytes()
    async with watching(watch) as rings:
        async with hanging(path) as pipe:
            await until(lambda: watch.is_unusable)
            assert caplog.messages == ["keys_unusable"]
            assert caplog.records[0].__dict__["reason"].endswith("it could not be read within 0.5 seconds")
            path.unlink()
            path.write_bytes(record)
            pipe.write(record)
        await until(lambda: rings[-1].kids == [first, second])
        assert not watch.is_unusable


async def test_an_unchanged_folder_costs_no_reading(rotation: KeyRotation, monkeypatch: pytest.MonkeyPatch) -> None:
    rotation.new("ES256", NOW)
    watch = KeyWatch("ES256", [], rotation.folder.path)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read"))
    assert watch._read_if_changed() is watch.ring


def test_a_key_beside_a_broken_one_is_loaded_once(rotation: KeyRotation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is read again every other second, and the check of an RSA key holds up everything."""
    put(rotation, RS256)
    (rotation.folder.path / "z.pem").write_text("broken")
    loaded: list[bytes] = []
    load = serialization.load_pem_private_key

    def note(pem: bytes, password: None) -> Any:
        loaded.append(pem)
        return load(pem, password)

    monkeypatch.setattr(serialization, "load_pem_private_key", note)
    for _ in range(3):
        with pytest.raises(UnusableKey):
            rotation.folder.read()
    assert loaded.count(RS256.pem) == 1


def test_a_key_that_stays_is_not_loaded_again(rotation: KeyRotation) -> None:
    """The check of an RSA key takes a tenth of a second, during which the process does nothing else."""
    put(rotation, RS256)
    before = rotation.folder.read().keys
    put(rotation, new_ec())
    after = rotation.folder.read().keys
    assert len(after) == 2
    assert all(after[kid] is key for kid, key in before.items())
