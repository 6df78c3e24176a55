"""The steps of a rotation of keys, in the order in which nobody is logged out: new, activate, retire.

A key is published before it signs, for as long as consumers may go on with the set that they have; and it verifies
until the last token that it signed has expired.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import replace

from service.keyfolder import Contents, Entry, KeyFolder, Record
from service.keys import new_private_key, private_key

PICK_UP = 10  # seconds in which every process has surely seen a change of the folder


class UnknownKey(LookupError):
    """No key has this kid."""


class Refused(Exception):
    """The step would log somebody out, or leave nothing to sign with; the text says why and from when it may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A key and what may be done with it: `activate_from` and `retire_from` are None for the key that signs.

    Times are seconds since 1970; those that nobody recorded are None.
    """

    kid: str
    algorithm: str | None
    state: str
    created: int | None
    activated: int | None
    superseded: int | None
    activate_from: int | None
    retire_from: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotation:
    """The steps, on a folder. `max_age` is that of a published set, `longest_lifetime` that of any token.

    Durations are seconds, `now` seconds since 1970. Every step raises UnusableKey when the folder cannot be read.
    """

    folder: KeyFolder
    max_age: int
    longest_lifetime: int

    def new(self, algorithm: str | None, now: int) -> str:
        """Makes and publishes a key, for `algorithm` or for that of the key that signs, and returns its kid.

        The first one of a folder signs at once, and is for ES256 where nothing else is said.
        """
        self.folder.make()
        with self.folder.locked():
            contents = self.folder.read()
            record = _recorded(contents, now)
            pem = new_private_key(algorithm or _algorithm_of_signing(contents) or "ES256")
            kid = private_key(pem).kid
            assert kid, "of a private key"
            is_first = not record.keys
            entry = Entry(created=now, activated=now if is_first else None)
            # First, so that a single key goes on signing beside another one; until that is recorded, it only verifies.
            if record.keys:  # with an empty record, a first key would not sign after a stop before the last write
                self.folder.write_record(record)
            self.folder.write_key(kid, pem)
            self.folder.write_record(
                Record(signing=kid if is_first else record.signing, keys={**record.keys, kid: entry})
            )
            return kid

    def activate(self, kid: str, now: int, *, algorithm: str | None = None, force: bool = False) -> None:
        """Lets a key sign from now on, if it is for `algorithm`, or for that of the key that signs.

        With another one, the service would go on with the key before (`keys_unusable`), also by force. Raises
        UnknownKey, Refused.
        """
        with self.folder.locked():
            contents = self.folder.read()
            if kid not in contents.keys:
                raise UnknownKey(f"there is no PEM of the key {kid}")
            record = _recorded(contents, now)
            its_own, wanted = contents.keys[kid].algorithm, algorithm or _algorithm_of_signing(contents)
            if wanted not in {None, its_own}:
                raise Refused(f"{kid} is for {its_own}, not {wanted}: set JWT_ALGORITHM if the service shall change")
            if not force and record.signing != kid and now < (start := self._activate_from(record.keys[kid])):
                self.folder.write_record(record)  # so that what was not recorded is known from now on
                raise Refused(f"{kid} may sign from {rfc3339(start)}: until then, some may not know it")
            self.folder.write_record(_activated(record, kid, now))

    def retire(self, kid: str, now: int, *, force: bool = False) -> None:
        """Deletes a key: none of its tokens verifies any more. Raises UnknownKey, Refused."""
        with self.folder.locked():
            contents = self.folder.read()
            record = _recorded(contents, now)
            if kid not in record.keys:
                raise UnknownKey(f"there is no key {kid}")
            if kid == record.signing:
                raise Refused(f"{kid} signs: activate another one first")
            if not force and now < (end := self._retire_from(record.keys[kid])):
                self.folder.write_record(record)
                raise Refused(f"{kid} may be retired from {rfc3339(end)}: until then, tokens of it may be in use")
            # In this order, what a stop in between leaves is a key that still verifies.
            self.folder.write_record(
                Record(signing=record.signing, keys={name: e for name, e in record.keys.items() if name != kid})
            )
            for path in contents.files.get(kid, ()):
                path.unlink()

    def list(self, now: int) -> list[Listed]:
        """Every key, the one that signs first, then the newest; changes nothing."""
        contents = self.folder.read()
        record = _recorded(contents, now)
        order = sorted(record.keys, key=lambda kid: (kid != record.signing, -record.keys[kid].created, kid))
        return [self._listed(kid, contents, record) for kid in order]

    def _listed(self, kid: str, contents: Contents, record: Record) -> Listed:
        entry = record.keys[kid]
        is_signing = kid == record.signing
        known = contents.entries.get(kid)
        state = "superseded" if entry.superseded else "published"
        return Listed(
            kid=kid,
            algorithm=None if kid in contents.missing else contents.keys[kid].algorithm,
            state="missing" if kid in contents.missing else "signing" if is_signing else state,
            created=known.created if known else None,
            activated=known.activated if known else None,
            superseded=known.superseded if known else None,
            activate_from=None if is_signing or kid in contents.missing else self._activate_from(entry),
            retire_from=None if is_signing else self._retire_from(entry),
        )

    def _activate_from(self, entry: Entry) -> int:
        return entry.created + self.max_age + PICK_UP

    def _retire_from(self, entry: Entry) -> int:
        return entry.created if entry.superseded is None else entry.superseded + self.longest_lifetime + PICK_UP


def rfc3339(seconds: int) -> str:
    """A time as a person reads it: 2026-01-31T23:59:59Z."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _algorithm_of_signing(contents: Contents) -> str | None:
    return contents.keys[contents.signing].algorithm if contents.signing in contents.keys else None


def _recorded(contents: Contents, now: int) -> Record:
    """The record with an entry for every PEM. One that somebody put there may have signed elsewhere until just now."""
    entries = dict(contents.entries)
    for kid in contents.keys.keys() - entries.keys():
        is_signing = kid == contents.signing
        entries[kid] = Entry(created=now, activated=now) if is_signing else Entry(created=now, superseded=now)
    return Record(signing=contents.signing, keys=entries)


def _activated(record: Record, kid: str, now: int) -> Record:
    if record.signing == kid:
        return record
    entries = {**record.keys, kid: replace(record.keys[kid], activated=now, superseded=None)}
    if record.signing in entries:
        entries[record.signing] = replace(entries[record.signing], superseded=now)
    return Record(signing=kid, keys=entries)
