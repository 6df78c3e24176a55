import pytest
from pymysql.cursors import Cursor

from tests import rehearsal
from tests.server import Server


@pytest.mark.repeated
async def test_the_whole_job_is_done_for_names_in_20_scripts_and_nothing_is_lost(server: Server, sql: Cursor) -> None:
    """REQUIREMENTS 47, 48, 51."""
    counts = await rehearsal.rehearse(server.url, 20)
    assert counts == {
        "signed up": 20,
        "refused as taken": 20,
        "logged in": 20,
        "verified": 80,
        "refreshed": 60,
        "logged out": 20,
        "refused after logout": 20,
    }
    names = rehearsal.people(20)
    sql.execute("select count(*) from users where username in %s", (names,))
    assert sql.fetchone() == (20,)
    sql.execute("select count(*) from refresh_tokens join users on users.id = user_id where username in %s", (names,))
    assert sql.fetchone() == (0,)


async def test_the_rehearsal_stops_at_the_first_loss(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "people", lambda count: ["twice", "twice"])
    with pytest.raises(ExceptionGroup) as failure:
        await rehearsal.rehearse(server.url, 2, clients=1)
    assert failure.group_contains(AssertionError, match="signed up: 409")
