"""What it costs verify to know of sessions that have ended."""

from collections.abc import Iterator
from contextlib import ExitStack

from bench.database import connect
from bench.plan import OURS, THEIRS, Figure, Plan
from bench.processes import resident_bytes
from bench.servers import SERVICE, Server
from bench.turns import Side

_ENDED = """
    insert into revocations (session_id, created_at, expires_at)
    select uuid(), utc_timestamp() - interval 1 minute, utc_timestamp() + interval 1 hour
    from seq_1_to_10000000
    where seq <= %s
"""


def ended(plan: Plan) -> Iterator[Figure]:
    """Verifications a second beside 100,000 sessions that ended, of those beside none; what a process holds of each.

    Two processes, of which each reads but when it starts: one knows of none, and the other of all.
    """
    count = 10_000 if plan.quick else 100_000
    settings = {**plan.settings, "REVOCATION_INTERVAL": "1h"}
    with ExitStack() as stack:
        cursor = stack.enter_context(connect(plan.settings["DATABASE_URL"]))
        innocent = stack.enter_context(Server(SERVICE, OURS, settings))
        cursor.execute(_ENDED, (count,))
        stack.callback(cursor.execute, "delete from revocations")
        servers = innocent, stack.enter_context(Server(SERVICE, OURS, settings))
        alone, beside = (Side(server.url, "verify", plan.folder / "access", cores=THEIRS) for server in servers)
        plan.compare(alone, beside)
        before, after = (resident_bytes(server.process.pid) for server in servers)
    load = beside.load.with_failures_of(alone.load)
    limit = alone.load.per_second
    yield Figure(f"verify, {count:,} sessions ended", load.per_second, "/s", limit, load, at_least=0.95)
    yield Figure("memory a session that ended", (after - before) / count, "B", None, load)
