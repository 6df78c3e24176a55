"""Failed logins and signups are limited; whoever is logged in goes on."""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from ipaddress import ip_network
from typing import Any

import httpx
import pymysql
import pytest

from service import tallies
from service.address import DatabaseAddress
from service.errors import AuthError, DatabaseUnavailable, InvalidCredentials, Overloaded, TooManyAttempts
from service.localdb import LocalDatabase
from service.ratelimits import Limit, RateLimits
from service.tallies import Tallies, Tally
from service.throttle import Throttle
from tests.conftest import PASSWORD, StartClient, add_user

LOOPBACK = (ip_network("127.0.0.0/8"),)  # the proxy that these tests are
NewName = Callable[[], str]


@pytest.fixture
def name(sql: pymysql.cursors.Cursor, new_name: NewName) -> str:
    """Of a user whose hash costs as little as those that the services here make."""
    return add_user(sql, new_name())


def limits(name: str = "20/900", address: str = "100/900", signup: str = "60/3600", **others: Any) -> RateLimits:
    """Amounts and seconds of each limit."""

    def limit(text: str) -> Limit:
        amount, seconds = text.split("/")
        return Limit(int(amount), int(seconds))

    return RateLimits(
        rate_limit_login_name=limit(name),
        rate_limit_login_address=limit(address),
        rate_limit_signup=limit(signup),
        **others,
    )


def of(address: str | None) -> dict[str, str]:
    """The header of a client at this address, as a proxy passes it on."""
    return {"X-Forwarded-For": address} if address else {}


async def log_in(
    client: httpx.AsyncClient, name: str, password: str = "a wrong guess", address: str | None = None
) -> httpx.Response:
    return await client.post("/auth/login", json={"username": name, "password": password}, headers=of(address))


async def statuses(client: httpx.AsyncClient, times: int, name: str, *arguments: str) -> list[int]:
    """Of as many logins, one after the other."""
    return [(await log_in(client, name, *arguments)).status_code for _ in range(times)]


async def at_once(*attempts: Awaitable[httpx.Response]) -> list[httpx.Response]:
    """All answers; that somebody waits for ever is a failure."""
    async with asyncio.timeout(60):
        return await asyncio.gather(*attempts)


async def test_a_limit_slows_the_guesser_and_a_success_before_it_forgives(start: StartClient, name: str) -> None:
    """REQUIREMENTS 43: upper and lower case count together."""
    async with start(limits=limits(name="3/900")) as client:
        assert await statuses(client, 2, name) == [401, 401]
        assert await statuses(client, 1, name, PASSWORD) == [200]
        assert await statuses(client, 2, name.upper()) == [401, 401]
        assert await statuses(client, 2, name) == [401, 429]
        assert await statuses(client, 1, name, PASSWORD) == [429]


async def test_a_login_past_its_limit_asks_the_database_nothing(start: StartClient, own_mariadb: LocalDatabase) -> None:
    """REQUIREMENTS 43: the database is away, which nobody notices."""
    async with start(database=DatabaseAddress.from_url(own_mariadb.url), limits=limits(name="1/900")) as client:
        assert await statuses(client, 1, "ada") == [401]
        own_mariadb.kill()
        assert await statuses(client, 1, "ada") == [429]


async def test_a_refusal_says_the_same_of_a_name_that_nobody_has(
    start: StartClient, name: str, new_name: NewName
) -> None:
    """REQUIREMENTS 40, 43: and a page of another origin may read when to come back."""
    async with start(limits=limits(name="2/900")) as client:
        client.headers["Origin"] = "https://app.example"
        answers = []
        for each in (name, new_name()):
            assert await statuses(client, 2, each) == [401, 401]
            answers.append(await log_in(client, each))
    known, unknown = answers
    assert (known.status_code, known.json()) == (429, unknown.json())
    assert known.json() == {"error": "Too many attempts; try again later.", "code": "too_many_attempts"}
    assert known.headers.keys() == unknown.headers.keys()
    assert "Retry-After" in known.headers["Access-Control-Expose-Headers"]
    assert 890 < int(known.headers["Retry-After"]) <= 900
    assert abs(int(known.headers["Retry-After"]) - int(unknown.headers["Retry-After"])) <= 5


async def test_guesses_at_once_do_not_slip_past_the_limit(
    start: StartClient, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """REQUIREMENTS 43."""
    caplog.set_level("INFO")
    async with start(limits=limits(name="10/900")) as client:
        answers = await at_once(*(log_in(client, name) for _ in range(50)))
    assert Counter(answer.status_code for answer in answers) == {401: 10, 429: 40}
    assert caplog.messages.count("login_failed") == 10
    throttled = [record for record in caplog.records if record.message == "login_throttled"]
    assert len(throttled) == 40
    assert all(vars(record)["limits"] == ["name"] for record in throttled)


async def test_right_logins_at_once_all_succeed(start: StartClient, name: str) -> None:
    """REQUIREMENTS 44: they are more than may be wrong."""
    async with start(limits=limits(name="10/900")) as client:
        assert await statuses(client, 9, name) == [401] * 9
        answers = await at_once(*(log_in(client, name, PASSWORD) for _ in range(30)))
        assert {answer.status_code for answer in answers} == {200}


async def test_right_logins_of_one_address_leave_room_for_others() -> None:
    """REQUIREMENTS 46: nothing counts them, and a hundred at once would take all places at the hashes for ever."""
    throttle, inside, over = Throttle(limits(address="100/900"), waiting=20), Counter[str](), asyncio.Event()

    async def log_in_right(ip: str, number: int) -> None:
        async with throttle.guess(f"user-{number}", ip):
            inside[ip] += 1
            await over.wait()

    logins = [asyncio.create_task(log_in_right("203.0.113.9", number)) for number in range(25)]
    logins.append(asyncio.create_task(log_in_right("203.0.113.10", 25)))
    async with asyncio.timeout(20):
        while not inside["203.0.113.10"] or inside["203.0.113.9"] < 5:
            await asyncio.sleep(0)
    assert inside["203.0.113.9"] == 5
    with pytest.raises(Overloaded):
        await log_in_right("203.0.113.9", 26)
    over.set()
    await asyncio.gather(*logins)
    assert inside["203.0.113.9"] == 25, "they waited"
    await throttle.close()


async def test_nothing_is_kept_of_whoever_does_not_guess_any_more() -> None:
    """But the count, which has an end: else whoever tries name after name would fill the memory."""
    throttle = Throttle(limits(), waiting=10)
    before = conditions()
    async with throttle.guess("user-0"):
        assert conditions() > before, "what the guesses of one name wait at"
    for number in range(1, 100):
        async with throttle.guess(f"user-{number}"):
            pass
    assert conditions() == before
    await throttle.close()


def conditions() -> int:
    """How many there are in this process."""
    return sum(isinstance(thing, asyncio.Condition) for thing in gc.get_objects())


async def test_whoever_is_cancelled_while_its_end_is_noted_leaves_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The storage is slow to say to somebody else what is left, and the end of the first has to wait for that."""
    throttle = Throttle(limits(name="1/900"), waiting=10)
    admitted, over, asked, answer = (asyncio.Event() for _ in range(4))
    read = Tallies.read

    async def slow(tallies: Tallies, limit: Limit, subject: str) -> Tally:
        if admitted.is_set():
            asked.set()
            await answer.wait()
        return await read(tallies, limit, subject)

    async def guess() -> None:
        async with throttle.guess("ada"):
            admitted.set()
            await over.wait()

    monkeypatch.setattr(Tallies, "read", slow)
    first = asyncio.create_task(guess())
    await admitted.wait()
    second = asyncio.create_task(guess())
    await asked.wait()
    over.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not first.done(), "it waits for the gate"
    first.cancel()
    await asyncio.wait([first])
    answer.set()
    async with asyncio.timeout(5):
        await second
    await throttle.close()


async def test_an_attempt_that_the_database_broke_off_neither_counts_nor_forgives() -> None:
    """Else whoever can make it fail would guess for ever, and an outage would lock everybody out."""
    throttle = Throttle(limits(name="2/900", signup="2/3600"), waiting=10)

    async def ends(attempt: AbstractAsyncContextManager[None], *outcome: AuthError) -> type[BaseException] | None:
        try:
            async with attempt:
                for error in outcome:
                    raise error
        except AuthError as error:
            return type(error)
        return None

    wrong, away = InvalidCredentials(), DatabaseUnavailable()
    guesses = [await ends(throttle.guess("ada"), outcome) for outcome in (wrong, away, wrong, wrong)]
    assert guesses == [InvalidCredentials, DatabaseUnavailable, InvalidCredentials, TooManyAttempts]
    for _ in range(3):
        assert await ends(throttle.signup("192.0.2.1"), away) is DatabaseUnavailable
    assert [await ends(throttle.signup("192.0.2.1")) for _ in range(3)] == [None, None, TooManyAttempts]
    await throttle.close()


async def test_whoever_is_cancelled_when_it_is_their_turn_leaves_it_to_the_next() -> None:
    """Nothing cancels a request but a stop, so far; then the others would wait for ever."""
    throttle = Throttle(limits(name="1/900"), waiting=10)
    answered = asyncio.Event()

    async def guess() -> None:
        async with throttle.guess("ada"):
            await answered.wait()

    async def guess_and_cancel() -> None:
        await guess()
        second.cancel()  # which has been woken by now, and has not run yet

    first, second, third = (asyncio.create_task(each()) for each in (guess_and_cancel, guess, guess))
    await asyncio.sleep(0.01)
    answered.set()
    async with asyncio.timeout(5):
        await asyncio.gather(first, third)
    assert second.cancelled()
    await throttle.close()


async def test_what_waits_for_others_of_its_name_is_bounded(start: StartClient, new_user: NewName) -> None:
    name = new_user()  # to compare the password takes a while
    async with start(limits=limits(name="1/900"), hash_threads=1, hash_queue=3) as client:
        answers = await at_once(*(log_in(client, name) for _ in range(30)))
    seen = Counter(answer.status_code for answer in answers)
    assert seen[401] == 1
    assert seen[429] >= 1
    assert seen[503] >= 20


async def test_what_was_not_compared_is_not_counted(start: StartClient, new_user: NewName) -> None:
    """REQUIREMENTS 46."""
    name = new_user()  # to compare the password takes a while
    async with start(limits=limits(name="5/900"), hash_threads=1, hash_queue=0) as client:
        answers = await at_once(*(log_in(client, name) for _ in range(20)))
        seen = Counter(answer.status_code for answer in answers)
        assert seen[503]
        assert await statuses(client, 6 - seen[401], name) == [*[401] * (5 - seen[401]), 429]


async def test_a_full_hash_queue_refuses_before_limits_are_asked(
    start: StartClient, name: str, new_name: NewName
) -> None:
    """REQUIREMENTS 46: under a storm a refusal costs next to nothing; who has reached a limit hears so afterwards."""
    async with start(limits=limits(name="1/900"), hash_threads=1, hash_queue=0, bcrypt_rounds=12) as client:
        token = (await log_in(client, name, PASSWORD)).json()["token"]
        assert await statuses(client, 1, name) == [401]

        async def change() -> httpx.Response:
            body = {"currentPassword": "a wrong guess", "newPassword": PASSWORD}
            return await client.put("/auth/password", json=body, headers={"Authorization": f"Bearer {token}"})

        newcomer = {"username": new_name(), "password": PASSWORD}
        answers = await at_once(client.post("/auth/signup", json=newcomer), log_in(client, name), change())
        assert [answer.status_code for answer in answers] == [200, 503, 503]
        assert [(await attempt).status_code for attempt in (log_in(client, name), change())] == [429, 429]


async def test_an_attempt_is_admitted_when_retry_after_says_and_no_second_sooner(start: StartClient, name: str) -> None:
    """REQUIREMENTS 43, 44: the lock is not for ever."""
    promises: list[tuple[float, float, int]] = []
    async with start(limits=limits(name="2/3")) as client:
        await statuses(client, 2, name)
        while True:
            sent = time.time()
            answer = await log_in(client, name)
            if answer.status_code != 429:
                break
            promises.append((sent, time.time(), int(answer.headers["Retry-After"])))
            await asyncio.sleep(0.05)
        admitted = time.time()
        assert answer.status_code == 401
        last_refusal = promises[-1][0]
    assert len(promises) > 10
    for asked, answered, seconds in promises:
        assert last_refusal <= answered + seconds, "who waited as told was refused"
        assert admitted >= asked + seconds - 1, "it was a second sooner than told"


async def test_an_address_is_limited_whatever_the_names(start: StartClient, name: str, new_name: NewName) -> None:
    """REQUIREMENTS 43: a success between them does not help; others go on."""
    async with start(limits=limits(address="3/900"), trusted_proxies=LOOPBACK) as client:
        assert await statuses(client, 2, new_name(), "x", "203.0.113.7") == [401, 401]
        assert (await log_in(client, name, PASSWORD, "203.0.113.7")).status_code == 200
        assert await statuses(client, 2, new_name(), "x", "203.0.113.7") == [401, 429]
        assert (await log_in(client, name, PASSWORD, "203.0.113.7")).status_code == 429
        assert (await log_in(client, name, PASSWORD, "203.0.113.8")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "member"),
    [("PUT", "/auth/password", "currentPassword"), ("DELETE", "/auth/account", "password")],
)
async def test_who_is_logged_in_is_limited_as_an_address_too(
    start: StartClient, sql: pymysql.cursors.Cursor, new_name: NewName, method: str, path: str, member: str
) -> None:
    """REQUIREMENTS 43, 46: an account more, of which anybody may have several, brings no guesses more."""
    async with start(limits=limits(address="3/900"), trusted_proxies=LOOPBACK) as client:
        tokens = [
            (await log_in(client, add_user(sql, new_name()), PASSWORD, "203.0.113.7")).json()["token"] for _ in range(4)
        ]
        for address, wanted in (("203.0.113.7", [401, 401, 401, 429]), ("203.0.113.8", [401, 401])):
            for token, status in zip(tokens, wanted, strict=False):
                body = {"newPassword": "another horse battery", member: "a wrong guess"}
                headers = {"Authorization": f"Bearer {token}", **of(address)}
                assert (await client.request(method, path, json=body, headers=headers)).status_code == status


async def test_changes_of_passwords_at_one_address_leave_room_for_others(
    start: StartClient, sql: pymysql.cursors.Cursor, name: str, new_name: NewName
) -> None:
    """REQUIREMENTS 46: each has two hashes computed, and nothing counts those that succeed."""
    body = {"currentPassword": PASSWORD, "newPassword": PASSWORD}
    async with start(hash_threads=1, hash_queue=7, trusted_proxies=LOOPBACK) as client:

        async def change_again_and_again(token: str) -> None:
            headers, changed = {"Authorization": f"Bearer {token}", **of("203.0.113.7")}, 0
            while changed < 20:
                answer = await client.put("/auth/password", json=body, headers=headers)
                changed += answer.status_code == 200

        tokens = [(await log_in(client, add_user(sql, new_name()), PASSWORD)).json()["token"] for _ in range(10)]
        changing = asyncio.gather(*map(change_again_and_again, tokens))
        logins = Counter[int]()
        while not changing.done():
            logins[(await log_in(client, name, PASSWORD, "203.0.113.8")).status_code] += 1
        assert set(logins) == {200}
        await changing


async def test_who_meets_two_limits_is_told_of_both_and_when_the_later_one_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    throttle = Throttle(limits(name="1/10", address="1/900"), waiting=10)
    with pytest.raises(InvalidCredentials):
        async with throttle.guess("ada", "203.0.113.7"):
            raise InvalidCredentials
    with pytest.raises(TooManyAttempts) as refused:
        async with throttle.guess("ada", "203.0.113.7"):
            pass
    assert refused.value.retry_after > 800
    assert sorted(caplog.records[-1].__dict__["limits"]) == ["address", "name"]
    await throttle.close()


async def test_a_network_of_ipv6_is_one_address(start: StartClient, new_name: NewName) -> None:
    """REQUIREMENTS 43."""
    async with start(limits=limits(address="2/900"), trusted_proxies=LOOPBACK) as client:
        for tail, status in (("1:1::1", 401), ("1:1:ffff::2", 401), ("1:1::3", 429), ("1:2::1", 401)):
            answer = await log_in(client, new_name(), "x", f"2001:db8:{tail}")
            assert answer.status_code == status, tail


@pytest.mark.parametrize("address", [None, "10.0.0.9", "::1"])
async def test_loopback_and_proxies_have_no_limit_but_the_name_has(
    start: StartClient, new_name: NewName, address: str | None
) -> None:
    proxies = (*LOOPBACK, ip_network("10.0.0.0/24"))
    async with start(limits=limits(address="1/900", signup="1/900"), trusted_proxies=proxies) as client:
        for _ in range(3):
            credentials = {"username": new_name(), "password": PASSWORD}
            signup = await client.post("/auth/signup", json=credentials, headers=of(address))
            assert signup.status_code == 200
            assert (await log_in(client, new_name(), "x", *([address] if address else []))).status_code == 401
    async with start(limits=limits(name="1/900"), trusted_proxies=proxies) as client:
        assert await statuses(client, 2, new_name(), "x", *([address] if address else [])) == [401, 429]


async def test_what_is_no_name_counts_for_the_address_only(start: StartClient) -> None:
    """REQUIREMENTS 43."""
    async with start(limits=limits(name="2/900", address="3/900"), trusted_proxies=LOOPBACK) as client:
        assert await statuses(client, 5, "no name") == [401] * 5
        assert await statuses(client, 4, "no name", "x", "203.0.113.7") == [401, 401, 401, 429]


async def test_signups_from_an_address_are_limited_whether_or_not_the_name_was_free(
    start: StartClient, name: str, new_name: NewName, caplog: pytest.LogCaptureFixture
) -> None:
    """REQUIREMENTS 42, 43: what could never be signed up is not counted."""
    caplog.set_level("INFO")
    async with start(limits=limits(signup="3/900"), trusted_proxies=LOOPBACK) as client:

        async def sign_up(username: str, password: str = PASSWORD, address: str = "203.0.113.7") -> httpx.Response:
            body = {"username": username, "password": password}
            return await client.post("/auth/signup", json=body, headers=of(address))

        names = (name, "no name", new_name(), name)
        assert [(await sign_up(each)).status_code for each in names] == [409, 400, 200, 409]
        refused = await sign_up(new_name())
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_attempts")
        assert 890 < int(refused.headers["Retry-After"]) <= 900
        assert (await sign_up(name, "short")).status_code == 429
        assert (await sign_up(new_name(), address="203.0.113.8")).status_code == 200
        assert (await log_in(client, name, PASSWORD, "203.0.113.7")).status_code == 200
    [first, *_] = [record for record in caplog.records if record.message == "signup_throttled"]
    assert vars(first)["limits"] == ["address"]


async def test_a_limit_locks_the_guesser_and_not_the_owner_who_is_logged_in(start: StartClient, name: str) -> None:
    """REQUIREMENTS 44: verify, refresh, the list of sessions and logout go on."""
    async with start(limits=limits(name="2/900")) as client:
        pair = (await log_in(client, name, PASSWORD)).json()
        assert await statuses(client, 3, name) == [401, 401, 429]
        for _ in range(3):
            refreshed = await client.post("/auth/refresh", json={"refreshToken": pair["refreshToken"]})
            assert refreshed.status_code == 200
            pair = refreshed.json()
            bearer = {"Authorization": f"Bearer {pair['token']}"}
            assert (await client.get("/auth/verify", headers=bearer)).status_code == 200
            assert (await client.get("/auth/sessions", headers=bearer)).status_code == 200
        assert (await log_in(client, name, PASSWORD)).status_code == 429
        ended = await client.post("/auth/logout", json={"refreshToken": pair["refreshToken"]})
        assert ended.status_code == 200


async def test_whoever_has_a_session_guesses_the_password_no_more_often(start: StartClient, name: str) -> None:
    """REQUIREMENTS 43."""
    async with start(limits=limits(name="3/900")) as client:
        pair = (await log_in(client, name, PASSWORD)).json()
        bearer = {"Authorization": f"Bearer {pair['token']}"}

        async def change(current: str) -> int:
            body = {"currentPassword": current, "newPassword": PASSWORD}
            return (await client.put("/auth/password", json=body, headers=bearer)).status_code

        async def delete(password: str) -> int:
            request = client.build_request("DELETE", "/auth/account", json={"password": password}, headers=bearer)
            return (await client.send(request)).status_code

        assert [await change("x"), await delete("x"), await change(PASSWORD)] == [401, 401, 200]
        assert [await change("x"), await delete("x"), *await statuses(client, 1, name)] == [401, 401, 401]
        assert [await change(PASSWORD), await delete(PASSWORD)] == [429, 429]
        assert await statuses(client, 1, name, PASSWORD) == [429]


async def test_limits_can_be_switched_off(start: StartClient, name: str, new_name: NewName) -> None:
    off = limits(name="1/900", address="1/900", signup="1/900", rate_limits=False)
    async with start(limits=off, trusted_proxies=LOOPBACK) as client:
        assert await statuses(client, 3, name, "x", "203.0.113.7") == [401] * 3
        for _ in range(3):
            body = {"username": new_name(), "password": PASSWORD}
            assert (await client.post("/auth/signup", json=body, headers=of("203.0.113.7"))).status_code == 200


async def test_failures_of_a_clock_that_was_ahead_hold_no_longer_than_their_limit_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts, limit, now = Tallies(None), Limit(2, 60), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 6 * 3600)
    for _ in range(2):
        await counts.add(limit, "ada")
    assert await counts.read(limit, "ada") == (0, 60)
    monkeypatch.setattr(time, "time", lambda: now)
    assert (await counts.read(limit, "ada")).left == 2
    await counts.add(limit, "ada")
    assert await counts.read(limit, "ada") == (1, 60)
    await counts.close()


async def test_memory_forgets_what_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so holds what was counted within the time of a limit, which the hashing rate bounds."""
    monkeypatch.setattr(tallies, "SWEEP_INTERVAL", 0.05)
    counts, limit = Tallies(None), Limit(5, 1)
    for number in range(500):
        await counts.add(limit, f"name {number}")
    held = counts._storage.storage  # type: ignore[union-attr]  # it is in memory
    assert len(held) == 500
    async with asyncio.timeout(10):
        while len(held) > 100:
            await counts.add(limit, "another")
            await asyncio.sleep(0.05)
    await counts.close()
