"""The ring that the settings ask for, brought up to date while the service runs."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from service.keyfolder import KeyFolder, State
from service.keys import KeyRing, UnusableKey, secret_key

POLL = 2  # seconds
LONGEST_READING = 10  # seconds

log = logging.getLogger(__name__)


class KeyWatch:
    """`ring` has the secrets and the keys of the folder; `algorithm` says which of them signs.

    Under HS256 it is the first secret, else the signing key of the folder. Raises UnusableKey.
    """

    def __init__(self, algorithm: str, secrets: Sequence[bytes], path: Path | None) -> None:
        self._algorithm = algorithm
        self._secrets = [secret_key(secret) for secret in secrets]
        self._folder = KeyFolder(path) if path else None
        self._state: State | None = None
        self._problem: str | None = None
        self.ring = self._read_patiently()

    @property
    def is_unusable(self) -> bool:
        """Whether the folder is, so that the ring is the last good one; a start would fail."""
        return self._problem is not None

    async def follow(self, use: Callable[[KeyRing], None]) -> None:
        """Gives each new ring to `use`, for ever; while the folder is unusable, the last ring stays."""
        while self._folder:
            await asyncio.sleep(POLL)
            # A folder may be slow, or hang, as on a network.
            slow = f"{self._folder.path}: it could not be read within {LONGEST_READING} seconds"
            telling = asyncio.get_running_loop().call_later(LONGEST_READING, self._note, slow)
            try:
                ring = await asyncio.to_thread(self._read_patiently)
            except UnusableKey as error:
                self._note(str(error))
                continue
            finally:
                telling.cancel()
            self._problem = None
            if ring.jwks != self.ring.jwks:
                self.ring = ring
                use(ring)
                log.info("keys_changed", extra={"signing": ring.signing.kid, "kids": ring.kids})

    def _note(self, problem: str) -> None:
        if problem != self._problem:
            log.error("keys_unusable", extra={"reason": problem})
        self._problem = problem

    def _read_patiently(self) -> KeyRing:
        """What may have been read in the midst of a change, which takes milliseconds, is read again."""
        for _ in range(4):
            with suppress(UnusableKey):
                return self._read_if_changed()
            time.sleep(0.02)
        return self._read_if_changed()

    def _read_if_changed(self) -> KeyRing:
        state = self._folder.state() if self._folder else []
        if state != self._state or self._problem:
            ring = self._read()
            self._state = state
            return ring
        return self.ring

    def _read(self) -> KeyRing:
        if not self._folder:
            return KeyRing(self._secrets[0], self._secrets)
        path, contents = self._folder.path, self._folder.read()
        if contents.missing:
            raise UnusableKey(f"{path}: the PEM of {', '.join(sorted(contents.missing))} is missing")
        published = sorted(contents.keys, key=lambda kid: (kid != contents.signing, kid))
        keys = [contents.keys[kid] for kid in published]
        if self._algorithm == "HS256":
            if not keys and self._state is not None and self.ring.kids:  # no command deletes the last one
                raise UnusableKey(f"{path}: the keys {', '.join(self.ring.kids)} are gone")
            return KeyRing(self._secrets[0], [*keys, *self._secrets])
        if contents.signing is None:
            raise UnusableKey(f"{path}: no key signs; make one, or let one: mstack-auth keys new | activate")
        if keys[0].algorithm != self._algorithm:
            raise UnusableKey(
                f"{path}: {contents.signing} signs, which is for {keys[0].algorithm}, not {self._algorithm}"
            )
        return KeyRing(keys[0], [*keys, *self._secrets])
