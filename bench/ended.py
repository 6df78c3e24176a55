"""What it costs verify to know of sessions that have ended."""

from collections.abc import Iterator

from bench.measure import OURS, THEIRS, Figure, Plan
from bench.processes import resident_bytes
from bench.rows import connect
from bench.servers import SERVICE, Server
from bench.wrk import Load, wrk

_ENDED = """
    insert into revocations (session_id, created_at, expires_at)
    select uuid(), utc_timestamp() - interval 1 minute, utc_timestamp() + interval 1 hour
    from seq_1_to_10000000
    where seq <= %s
"""


def ended(plan: Plan) -> Iterator[Figure]:
    """Verifications a second beside 100,000 sessions that ended, of those beside none; what a process holds of each.

    Two processes: one that starts knows of all before it answers, and these ended a minute ago.
    """
    count = 10_000 if plan.quick else 100_000
    with connect(plan.settings["DATABASE_URL"]) as cursor:
        alone, before = _measure(plan)
        cursor.execute(_ENDED, (count,))
        load, after = _measure(plan)
        cursor.execute("delete from revocations")
    load = load.with_failures_of(alone)
    yield Figure(f"verify, {count:,} sessions ended", load.per_second, "/s", alone.per_second, load, at_least=0.95)
    yield Figure("memory a session that ended", (after - before) / count, "B", None, load)


def _measure(plan: Plan) -> tuple[Load, int]:
    with Server(SERVICE, OURS, plan.settings) as service:
        load = wrk(service.url, "verify", plan.folder / "access", seconds=plan.seconds, cores=THEIRS)
        return load, resident_bytes(service.process.pid)
