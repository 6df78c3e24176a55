"""What it costs verify to know of sessions that have ended."""

import time
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from uuid_utils.compat import uuid7

from bench.measure import OURS, THEIRS, Figure, Plan
from bench.processes import resident_bytes
from bench.rows import connect
from bench.seed import SECRET
from bench.servers import SERVICE, Server
from bench.wrk import Load, wrk
from service.keys import KeyRing, secret_key
from service.tokens import Tokens

_ENDED = """
    insert into revocations (session_id, created_at, expires_at)
    select if(seq = 1, %s, uuid()), utc_timestamp(), utc_timestamp() + interval 1 hour
    from seq_1_to_10000000
    where seq <= %s
"""


def ended(plan: Plan) -> Iterator[Figure]:
    """Verifications a second beside 100,000 sessions that ended, of those beside none; what a process holds of each."""
    count = 10_000 if plan.quick else 100_000

    def measure() -> Load:
        return wrk(service.url, "verify", plan.folder / "access", seconds=plan.seconds, cores=THEIRS)

    with connect(plan.settings["DATABASE_URL"]) as cursor, Server(SERVICE, OURS, plan.settings) as service:
        alone, before = measure(), resident_bytes(service.process.pid)
        session, token = _session()
        cursor.execute(_ENDED, (session, count))
        _await_refusal(service.url, token)
        after, load = resident_bytes(service.process.pid), measure().with_failures_of(alone)
        cursor.execute("delete from revocations")
    yield Figure(f"verify, {count:,} sessions ended", load.per_second, "/s", alone.per_second, load, at_least=0.95)
    yield Figure("memory a session that ended", (after - before) / count, "B", None, load)


def _session() -> tuple[str, str]:
    """A session and an access token of it, which nobody else verifies."""
    tokens, session = Tokens(KeyRing(secret_key(SECRET.encode())), access_lifetime=3600), str(uuid7())
    token = tokens.issue_access(user_id="x", username="x", session_id=session, now=int(time.time()))
    return session, token


def _await_refusal(url: str, token: str) -> None:
    request = Request(f"{url}/auth/verify", headers={"Authorization": f"Bearer {token}"})  # noqa: S310  # our own
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            urlopen(request).close()  # noqa: S310
        except HTTPError:
            return
        time.sleep(0.1)
    raise RuntimeError("the service does not hear of sessions that end")
