"""What sessions are meant to do, in plain Python: whatever the service answers, this says before.

It knows two processes that share a database. Times are seconds since 1970.
"""

from dataclasses import dataclass, field

ACCESS = 5 * 60
REFRESH = 7 * 86400
MAX_AGE = 10 * 86400
LIMIT = 3  # sessions of a user
GRACE = 60  # between clocks
USE_INTERVAL = 3600  # how exactly it is known when a session that stays was used last
PROCESSES = 2

Outcome = tuple[int, str | None]  # status, and the code of a refusal
OK: Outcome = (200, None)
INVALID: Outcome = (401, "invalid_token")
REVOKED: Outcome = (401, "session_revoked")
WRONG: Outcome = (401, "invalid_credentials")


@dataclass(eq=False)
class User:
    name: str
    password: str
    id: str | None = None  # until the first login tells it
    sessions: list["Session"] = field(default_factory=list)


@dataclass(eq=False)
class Session:
    id: str
    user: User
    created_at: int
    expires_at: int
    rotated_at: int
    used_at: int
    generation: int = 0
    is_stored: bool = True  # neither ended nor purged


@dataclass(eq=False)
class Pair:
    """The tokens of one answer, and what they are good for."""

    session: Session
    access: str
    access_until: int
    refresh: str
    refresh_until: int
    generation: int


class Model:
    """Says of each request what it does and how it is answered."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.users: dict[str, User] = {}
        self.ended: set[Session] = set()
        self.known: list[set[Session]] = [set() for _ in range(PROCESSES)]  # to each process, of those that ended
        self.issued: dict[tuple[str, int], str] = {}  # the refresh token of a session's generation

    def is_live(self, session: Session) -> bool:
        return session.is_stored and session.expires_at > self.now

    def live(self, user: User) -> list[Session]:
        """The one used last first."""
        return sorted(filter(self.is_live, user.sessions), key=lambda each: (each.used_at, each.id), reverse=True)

    def signup(self, name: str, password: str) -> Outcome:
        if name in self.users:
            return 409, "username_taken"
        self.users[name] = User(name, password)
        return OK

    def may_log_in(self, name: str, password: str) -> Outcome:
        return OK if name in self.users and self.users[name].password == password else WRONG

    def log_in(self, name: str, session_id: str, process: int) -> Session:
        """After which the user has LIMIT sessions at most."""
        user = self.users[name]
        until = self.now + min(REFRESH, MAX_AGE)
        session = Session(session_id, user, self.now, until, rotated_at=self.now, used_at=self.now)
        user.sessions.append(session)
        self._end(self.live(user)[LIMIT:], process)
        return session

    def verify(self, pair: Pair, process: int) -> Outcome:
        if self.now >= pair.access_until:
            return INVALID
        return REVOKED if pair.session in self.known[process] else OK

    def act(self, pair: Pair, process: int) -> Outcome:
        """Whether the access token may do something to its account: there the database is asked too."""
        verified = self.verify(pair, process)
        return verified if verified != OK or self.is_live(pair.session) else REVOKED

    def refresh(self, pair: Pair, process: int) -> Outcome:
        return self.advance(pair.session, pair.generation, pair.refresh_until, process)

    def advance(self, session: Session, generation: int, until: int, process: int) -> Outcome:
        """A genuine refresh token of any generation is presented; after OK the session's generation is the answer's."""
        if self.now >= until:
            return INVALID
        if not self.is_live(session):
            return REVOKED
        if session.generation == generation:
            session.generation += 1
            session.rotated_at = session.used_at = self.now
            session.expires_at = min(self.now + REFRESH, session.created_at + MAX_AGE)
            return OK
        if session.used_at <= self.now - USE_INTERVAL:
            session.used_at = self.now
        if session.generation > generation + 1:
            self._end([session], process)
        return OK if session.generation == generation + 1 else REVOKED

    def log_out(self, pair: Pair, process: int) -> Outcome:
        self._end([pair.session], process)
        return OK

    def end_session(self, actor: Pair, target: Session, process: int) -> Outcome:
        allowed = self.act(actor, process)
        if allowed != OK:
            return allowed
        if target.user is not actor.session.user or not self.is_live(target):
            return 404, "session_not_found"
        self._end([target], process)
        return OK

    def end_sessions(self, actor: Pair, process: int, *, keep_current: bool) -> tuple[Outcome, int]:
        """And how many were ended."""
        allowed = self.act(actor, process)
        spared = actor.session if keep_current else None
        return allowed, self._end_all(actor.session.user, process, spared) if allowed == OK else 0

    def change_password(self, actor: Pair, current: str, new: str, process: int) -> Outcome:
        allowed = self.act(actor, process)
        user = actor.session.user
        if allowed == OK and current != user.password:
            return WRONG
        if allowed == OK:
            user.password = new
            self._end_all(user, process, actor.session)
        return allowed

    def delete_account(self, actor: Pair, password: str, process: int) -> Outcome:
        allowed = self.act(actor, process)
        user = actor.session.user
        if allowed == OK and password != user.password:
            return WRONG
        if allowed == OK:
            self._end_all(user, process, None)
            del self.users[user.name]
        return allowed

    def read(self, process: int) -> None:
        """The process hears of all that ended."""
        self.known[process] |= self.ended

    def purge(self) -> None:
        """What expired so long ago that its access tokens have expired as well, whatever the clocks say."""
        for user in self.users.values():
            for session in user.sessions:
                session.is_stored &= session.expires_at > self.now - ACCESS - GRACE

    def _end_all(self, user: User, process: int, spared: Session | None) -> int:
        others = [each for each in user.sessions if each is not spared]
        count = sum(each.is_stored for each in others)
        self._end(others, process)
        return count

    def _end(self, sessions: list[Session], process: int) -> None:
        """Those too that had expired: that was no end, and their last access token may be valid still."""
        now = set(sessions) - self.ended
        self.ended |= now
        self.known[process] |= now
        for session in sessions:
            session.is_stored = False
