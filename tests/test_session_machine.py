"""Whatever users do with their sessions, in whatever order, two processes answer as a model of DESIGN says they do.

Hypothesis plays the users and the clock. The suite plays a few games, always the same; more of them, others each time:
`python -m tests.fuzz sessions --examples 10000`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from service import revocations
from service.address import DatabaseAddress
from service.ratelimits import RateLimits
from service.settings import KeySettings, Settings
from tests import asgi
from tests.asgi import Answer
from tests.data import a_copy
from tests.server import ISSUER, SECRET, claims_of, cursor_on
from tests.session_model import (
    ACCESS,
    INVALID,
    LIMIT,
    MAX_AGE,
    OK,
    PROCESSES,
    REFRESH,
    REVOKED,
    Model,
    Outcome,
    Pair,
    Session,
)
from tests.signers import b64, decode, dump, sign_by_hmac

DAY = 86400
SETTINGS = hypothesis.settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
SHORT = hypothesis.settings(SETTINGS, stateful_step_count=40, derandomize=True)
NAMES = st.sampled_from(["ada", "bob"])
NEW_PASSWORDS = ["correct horse", "battery staple"]
PASSWORDS = st.sampled_from(NEW_PASSWORDS)
KEEP_CURRENT = {"log out everywhere": None, "log out of the others": True, "log out of all": False}
WAYS = [*KEEP_CURRENT, *NEW_PASSWORDS, "delete"]
PROCESS = st.sampled_from(range(PROCESSES))
STEPS = st.sampled_from([1, 1, 1, 59, 59, ACCESS - 1, ACCESS, 3599, 3600, DAY, REFRESH - 1, REFRESH, MAX_AGE])
RENEWS = KNOWS = st.sampled_from([True, True, True, False])
EDGES = st.sampled_from(["access token", "refresh token", "session", "oldest"])
BESIDE = st.sampled_from([-ACCESS, -1, 0, 1])


class World:
    """Processes on a database of their own, and the time in all of them: of the services and of the database."""

    def __init__(self, url: str) -> None:
        self._settings = Settings(
            database=DatabaseAddress.from_url(url),
            keys=KeySettings(jwt_secret=SECRET.encode()),
            jwt_expiry=ACCESS, refresh_expiry=REFRESH, session_max_age=MAX_AGE, max_sessions=LIMIT,
            revocation_interval=DAY,  # read when told to
            bcrypt_rounds=4, pool_size=2, limits=RateLimits(rate_limits=False),
        )  # fmt: skip
        self._url = url
        self._games = 0
        self._runner = asyncio.Runner()
        self._stacks = [AsyncExitStack() for _ in range(PROCESSES)]
        self.now = int(time.time())
        self.skipped = 0
        """Seconds, in all games."""
        self.processes = [self._started(stack) for stack in self._stacks]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    def begin(self) -> str:
        """An empty database at the present time; what the names of the users of this game begin with."""
        self._games += 1
        self.now = int(time.time())
        with cursor_on(self._url) as sql:
            sql.execute("delete from users")
            sql.execute("delete from revocations")
        return f"{self._games}-"

    def wait(self, seconds: int) -> None:
        """Lets the time pass. The database has a clock of its own, so that what it noted by it grows older instead."""
        self.now += seconds
        self.skipped += seconds
        with cursor_on(self._url) as sql:
            older = "update revocations set created_at = created_at - interval %s second, "
            sql.execute(older + "expires_at = expires_at - interval %s second", (seconds, seconds))

    def restart(self, number: int) -> None:
        """Another process takes the place of this one."""
        self.run(self._stacks[number].aclose())
        self.processes[number] = self._started(self._stacks[number])

    def close(self) -> None:
        for stack in self._stacks:
            self.run(stack.aclose())
        self._runner.close()

    def _started(self, stack: AsyncExitStack) -> asgi.Process:
        started: asgi.Process = self.run(stack.enter_async_context(asgi.process(self._settings, lambda: self.now)))
        return started


@contextmanager
def new_world(url: str) -> Iterator[World]:
    """On a database of its own, whose revocations nobody else may see grow old."""
    with pytest.MonkeyPatch.context() as patch:
        world = World(url)
        passing = SimpleNamespace(monotonic=lambda: time.monotonic() + world.skipped)
        patch.setattr(revocations, "time", passing)  # by it a process forgets
        try:
            yield world
        finally:
            world.close()


class Game(RuleBasedStateMachine):
    """Each rule asks the model first, then a process."""

    world: ClassVar[World]
    kind: ClassVar[type[Model]]
    pairs: Bundle[Pair] = Bundle("pairs")

    def __init__(self) -> None:
        super().__init__()
        self.prefix = self.world.begin()
        self.model = self.kind(self.world.now)
        self.held: list[Pair] = []
        self.fresh: list[Pair] = []  # whose access token has not expired
        self.turns = 0

    def post(
        self, process: int, path: str, members: object, *, token: str | None = None, method: str = "POST"
    ) -> Answer:
        answer: Answer = self.world.run(
            self.world.processes[process].post(f"/auth/{path}", members, token=token, method=method)
        )
        return answer

    def hold(self, session: Session, answer: Answer) -> Pair:
        """Notes what was answered, once it says what it should."""
        access, refresh = answer.json()["token"], answer.json()["refreshToken"]
        user, now = session.user, self.model.now
        said = {"sub": user.id, "username": user.name, "sid": session.id}
        claims = claims_of(access)
        assert claims.pop("jti")
        assert claims == {**said, "type": "access", "iat": now, "exp": now + ACCESS}
        times = {"iat": session.rotated_at, "exp": session.expires_at}
        assert claims_of(refresh) == {**said, **times, "type": "refresh", "gen": session.generation}
        same = self.model.issued.setdefault((session.id, session.generation), refresh)
        assert refresh == same, "a generation is always the same token"
        pair = Pair(session, access, now + ACCESS, refresh, session.expires_at, session.generation)
        self.held.append(pair)
        self.fresh.append(pair)
        return pair

    @rule(name=NAMES, password=PASSWORDS, process=PROCESS)
    def sign_up(self, name: str, password: str, process: int) -> None:
        credentials = {"username": self.prefix + name, "password": password}
        expected = self.model.signup(self.prefix + name, password)
        assert outcome(self.post(process, "signup", credentials)) == expected

    @initialize(target=pairs)
    def begin(self) -> Any:
        self.sign_up("ada", "correct horse", 0)
        return multiple(*(self.log_in("ada", 0, knows=True) for _ in range(LIMIT)))

    @rule(target=pairs, name=NAMES, process=PROCESS, knows=KNOWS)
    def log_in(self, name: str, process: int, knows: bool) -> Any:
        name = self.prefix + name
        password = self.password_of(name, knows)
        expected = self.model.may_log_in(name, password)
        answer = self.post(process, "login", {"username": name, "password": password})
        assert outcome(answer) == expected
        if expected != OK:
            return multiple()
        claims = claims_of(answer.json()["token"])
        user = self.model.users[name]
        user.id = user.id or claims["sub"]
        return self.hold(self.model.log_in(name, claims["sid"], process), answer)

    @rule(target=pairs, pair=pairs, process=PROCESS, times=st.integers(1, 3))
    def refresh(self, pair: Pair, process: int, times: int) -> Any:
        """Some times in a row, each with what the time before gave."""
        got: list[Pair] = []
        for _ in range(times):
            expected = self.model.refresh(pair, process)
            answer = self.post(process, "refresh", {"refreshToken": pair.refresh})
            assert outcome(answer) == expected
            if expected != OK:
                break
            pair = self.hold(pair.session, answer)
            got.append(pair)
        return multiple(*got)

    @rule(target=pairs, pair=pairs)
    def refresh_everywhere_at_once(self, pair: Pair) -> Any:
        """Each process is asked twice: all give the same, whoever is first."""
        body = {"refreshToken": pair.refresh}

        async def ask() -> list[Answer]:
            return await asyncio.gather(*(each.post("/auth/refresh", body) for each in self.world.processes * 2))

        answers = self.world.run(ask())
        expected = self.model.refresh(pair, 0)
        assert [outcome(answer) for answer in answers] == [expected] * len(answers)
        if expected == OK:
            return multiple(*(self.hold(pair.session, answer) for answer in answers))
        if pair.session in self.model.ended:
            for process in range(PROCESSES):  # which of them found out is not known
                self.hear(process)
        return multiple()

    @rule(pair=pairs, process=PROCESS, ahead=st.integers(0, 3))
    def present_what_is_no_token_or_too_new(self, pair: Pair, process: int, ahead: int) -> None:
        """Without the key nobody can sign: under another one, under the signature of the genuine token, under none."""
        header, payload, signature = pair.refresh.split(".")
        claims = claims_of(pair.refresh)
        forged = b64(dump({**claims, "gen": claims["gen"] + ahead, "exp": claims["exp"] + 1}))
        strange = sign_by_hmac(b"a secret of somebody else, long enough", decode(header), decode(payload))
        for token in (f"{header}.{forged}.{signature}", f"{header}.{forged}.", strange, pair.access):
            for path in ("refresh", "logout"):
                assert outcome(self.post(process, path, {"refreshToken": token})) == INVALID
        for path in ("verify", "sessions"):
            assert outcome(self.post(process, path, {}, token=pair.refresh, method="GET")) == INVALID
        if ahead:
            self.refresh_ahead_of_the_database(pair.session, process, ahead)

    def refresh_ahead_of_the_database(self, session: Session, process: int, ahead: int) -> None:
        """With a genuine token, since the database was restored from a backup, say."""
        generation, until = session.generation + ahead, self.model.now + 1
        token = ISSUER.issue_refresh(
            user_id=str(session.user.id), username=session.user.name, session_id=session.id,
            generation=generation, issued_at=self.model.now, expires_at=until,
        )  # fmt: skip
        expected = self.model.advance(session, generation, until, process)
        assert outcome(self.post(process, "refresh", {"refreshToken": token})) == expected

    @rule(actor=pairs, renews=RENEWS, other=pairs, process=PROCESS, how=st.sampled_from(["log out", "end", "end"]))
    def end_one(self, actor: Pair, renews: bool, other: Pair, process: int, how: str) -> None:
        """By its refresh token, or by an access token of its user."""
        if how == "log out":
            self.log_out(other, process)
        else:
            self.end_session(self.renewed(actor) if renews else actor, other, process)

    @rule(actor=pairs, renews=RENEWS, process=PROCESS, how=st.sampled_from(WAYS), knows=KNOWS)
    def end_many(self, actor: Pair, renews: bool, process: int, how: str, knows: bool) -> None:
        """The session of the actor is spared by some, and who knows the password of the user may do all of it."""
        actor = self.renewed(actor) if renews else actor
        if how in KEEP_CURRENT:
            self.end_sessions(actor, process, KEEP_CURRENT[how])
        elif how == "delete":
            self.delete_account(actor, process, knows)
        else:
            self.change_password(actor, process, knows, how)

    def log_out(self, pair: Pair, process: int) -> None:
        expected = self.model.log_out(pair, process)
        assert outcome(self.post(process, "logout", {"refreshToken": pair.refresh})) == expected

    def renewed(self, pair: Pair) -> Pair:
        """With an access token that its session got just now, where it may have one: else most would have expired."""
        if not self.model.is_live(pair.session):
            return pair
        pair = replace(pair, access=self.access_token(pair.session), access_until=self.model.now + ACCESS)
        self.fresh.append(pair)
        return pair

    def password_of(self, name: str, knows: bool) -> str:
        return self.model.users[name].password if knows and name in self.model.users else "a guess"

    def access_token(self, session: Session) -> str:
        user, now = session.user, self.model.now
        return ISSUER.issue_access(user_id=str(user.id), username=user.name, session_id=session.id, now=now)

    def end_session(self, actor: Pair, other: Pair, process: int) -> None:
        expected = self.model.end_session(actor, other.session, process)
        path = f"sessions/{other.session.id}"
        assert outcome(self.post(process, path, {}, token=actor.access, method="DELETE")) == expected

    def end_sessions(self, actor: Pair, process: int, keep_current: bool | None) -> None:
        expected, count = self.model.end_sessions(actor, process, keep_current=keep_current is True)
        body = {} if keep_current is None else {"keepCurrent": keep_current}
        answer = self.post(process, "logoutall", body, token=actor.access)
        assert outcome(answer) == expected
        assert answer.json().get("tokensDeleted", 0) == count

    def change_password(self, actor: Pair, process: int, knows: bool, new: str) -> None:
        current = self.password_of(actor.session.user.name, knows)
        expected = self.model.change_password(actor, current, new, process)
        body = {"currentPassword": current, "newPassword": new}
        assert outcome(self.post(process, "password", body, token=actor.access, method="PUT")) == expected

    def delete_account(self, actor: Pair, process: int, knows: bool) -> None:
        password = self.password_of(actor.session.user.name, knows)
        expected = self.model.delete_account(actor, password, process)
        answer = self.post(process, "account", {"password": password}, token=actor.access, method="DELETE")
        assert outcome(answer) == expected

    @rule(seconds=STEPS)
    def wait(self, seconds: int) -> None:
        self.world.wait(seconds)
        self.model.now = self.world.now

    @rule(pair=pairs, edge=EDGES, beside=BESIDE)
    def wait_until(self, pair: Pair, edge: str, beside: int) -> None:
        """Just before something expires, or just then."""
        edges = {
            "access token": pair.access_until,
            "refresh token": pair.refresh_until,
            "session": pair.session.expires_at,
            "oldest": pair.session.created_at + MAX_AGE - REFRESH,  # from here on the age of the session counts
        }
        if (until := edges[edge] + beside) > self.model.now:
            self.wait(until - self.model.now)

    @rule(process=PROCESS, work=st.sampled_from(["hear", "hear", "purge", "restart"]))
    def keep_up(self, process: int, work: str) -> None:
        """What goes on beside requests."""
        if work == "hear":
            self.hear(process)
        elif work == "restart":
            self.model.read(process)
            self.world.restart(process)
        else:
            self.model.purge()
            sessions = self.world.processes[process].parts["auth"].sessions
            self.world.run(to_its_end(sessions.purge()))

    def hear(self, process: int) -> None:
        self.model.read(process)
        self.world.run(self.world.processes[process].parts["auth"].revocations.read())

    @invariant()
    def every_access_token_verifies_exactly_while_it_may(self) -> None:
        for process in range(PROCESSES):
            for pair in self.fresh:
                answer = self.post(process, "verify", {}, token=pair.access, method="GET")
                assert outcome(answer) == self.model.verify(pair, process)
                assert answer.status == 401 or answer.json()["user"] == {"username": pair.session.user.name}
        self.fresh = [pair for pair in self.fresh if self.model.now < pair.access_until]

    @invariant()
    def every_user_sees_the_live_sessions(self) -> None:
        """As each of them would, in turn."""
        self.turns += 1
        for user in self.model.users.values():
            if live := self.model.live(user):
                current = live[self.turns % len(live)]
                token = self.access_token(current)
                answer = self.post(self.turns % PROCESSES, "sessions", {}, token=token, method="GET")
                assert answer.json() == {"sessions": [shown(each, current) for each in live]}
                assert len(live) <= LIMIT

    @invariant()
    def what_has_ended_is_never_refreshed(self) -> None:
        """Its tokens are tried in turn."""
        if over := [pair for pair in self.held if pair.session in self.model.ended]:
            pair = over[self.turns % len(over)]
            answer = self.post(self.turns % PROCESSES, "refresh", {"refreshToken": pair.refresh})
            assert outcome(answer) == (REVOKED if self.model.now < pair.refresh_until else INVALID)


async def to_its_end(steps: AsyncIterator[object]) -> None:
    async for _ in steps:
        pass


def outcome(answer: Answer) -> Outcome:
    return answer.status, answer.json().get("code")


def shown(session: Session, current: Session) -> dict[str, object]:
    return {
        "id": session.id,
        "createdAt": rfc3339(session.created_at),
        "lastUsedAt": rfc3339(session.used_at),
        "userAgent": None,
        "ip": asgi.CLIENT[0],
        "current": session is current,
    }


def rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture(scope="module")
def world(new_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with a_copy(new_data, tmp_path_factory.mktemp("world")) as mariadb, new_world(mariadb.url) as world:
        yield world


def game(world: World, kind: type[Model] = Model) -> type[Game]:
    """The rules, for these processes, as this model has them."""
    return type("Game", (Game,), {"world": world, "kind": kind})


@pytest.mark.repeated
def test_two_processes_answer_as_the_model_whatever_is_done_to_sessions(world: World) -> None:
    """REQUIREMENTS 21, 23, 26, 27, 28, 29, 30, 31; DESIGN section 3."""
    run_state_machine_as_test(game(world), settings=hypothesis.settings(SHORT, max_examples=40))


# That the games tell a model that is right from one that is nearly so.


class Forgiving(Model):
    """An old refresh token whose successor was used is refused, and that is all."""

    def advance(self, session: Session, generation: int, until: int, process: int) -> Outcome:
        is_old = self.is_live(session) and session.generation > generation + 1
        return REVOKED if is_old and self.now < until else super().advance(session, generation, until, process)


class Telepathic(Model):
    """Each process knows of an end without having heard."""

    def verify(self, pair: Pair, process: int) -> Outcome:
        self.known[process] |= self.ended
        return super().verify(pair, process)


class Lavish(Model):
    """There is no limit to a user's sessions."""

    def log_in(self, name: str, session_id: str, process: int) -> Session:
        user, until = self.users[name], self.now + REFRESH
        user.sessions.append(Session(session_id, user, self.now, until, rotated_at=self.now, used_at=self.now))
        return user.sessions[-1]


@pytest.mark.repeated
@pytest.mark.parametrize("kind", [Forgiving, Telepathic, Lavish])
def test_a_model_that_is_nearly_right_is_found_out(world: World, kind: type[Model]) -> None:
    """As soon as one game shows it; the shortest is not looked for."""
    found = hypothesis.settings(SHORT, max_examples=200, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(game(world, kind), settings=found)
