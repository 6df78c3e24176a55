"""Sessions, password, account and keys on the demonstration page: windows of one user, each a browser of its own."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, Route, expect

from service.keyfolder import KeyFolder
from service.keyrotation import KeyRotation
from service.localdb import LocalDatabase
from tests import test_demo_page
from tests.conftest import PASSWORD
from tests.server import Server
from tests.test_demo_page import OWN_BUTTONS, Demo, OpenDemo

pytestmark = pytest.mark.asyncio(loop_scope="module")

browser, demo = test_demo_page.browser, test_demo_page.demo

SECONDS = 5_000  # ms; what a user still calls "within seconds"
NEW_PASSWORD = "battery staple horse"
ENDED = "This session was ended elsewhere."


async def hurry(page: Page) -> None:
    """Lets a test put the page's clock forward, which else goes on as ever."""
    await page.clock.install()


async def look(window: Demo) -> None:
    """Lets the page look at its sessions now instead of soon."""
    await window.page.clock.fast_forward(2500)


@asynccontextmanager
async def two_windows(
    demo: OpenDemo, name: str, before: Callable[[Page], Awaitable[None]] | None = hurry
) -> AsyncIterator[tuple[Demo, Demo]]:
    """Two browsers in which one user is logged in."""
    async with demo(user_agent="Desk", before=before) as here, demo(user_agent="Sofa", before=before) as there:
        await here.log_in(name)
        await there.log_in(name)
        yield here, there


def sessions(window: Demo, having: str = "") -> Locator:
    """The rows of the list, or those with a text."""
    return window["sessionList"].locator("li").filter(has_text=having)


async def is_logged_out(window: Demo, because: str) -> None:
    """Waits until the page says so; it has forgotten everything, and the buttons rest."""
    await expect(window["result"]).to_contain_text(because, timeout=SECONDS)
    for card in ("accessToken", "refreshToken"):
        await expect(window[card]).to_have_class("card empty")
        await expect(window[card].locator(".raw")).to_be_empty()
    await expect(sessions(window)).to_have_count(0)
    for identity in OWN_BUTTONS:
        await expect(window[identity]).to_be_disabled()
    await expect(window["login"]).to_be_enabled()


async def test_the_list_shows_the_sessions_of_a_user_and_marks_the_own(demo: OpenDemo, name: str) -> None:
    async with two_windows(demo, name) as (here, there):
        await look(here)
        for window, own, other in ((here, "Desk", "Sofa"), (there, "Sofa", "Desk")):
            await expect(sessions(window)).to_have_count(2)
            await expect(sessions(window, own)).to_contain_text("this session")
            await expect(sessions(window, other)).not_to_contain_text("this session")
            await expect(sessions(window, other)).to_contain_text("127.0.0.1")
            await expect(sessions(window, other)).to_contain_text(re.compile(r"opened \d+ \w+ 20\d\d, \d\d:\d\d"))
            await expect(sessions(window, other)).to_contain_text("last used less than a minute ago")
        await expect(sessions(here).first).to_contain_text("Sofa")
        await here["listSessions"].click()
        await expect(here["sessionsResult"]).to_contain_text("Listed: the one used last comes first.")
        await expect(here["log"].locator("li").first).to_contain_text('"current": true')
        assert here.complaints == there.complaints == []


async def test_a_session_that_is_ended_in_one_window_shows_in_the_other(demo: OpenDemo, name: str) -> None:
    """Within seconds, by the clock on the wall."""
    async with two_windows(demo, name, before=None) as (here, there):
        await sessions(here, "Sofa").get_by_role("button").click()
        await expect(here["sessionsResult"]).to_have_text("Session ended. This one goes on.")
        await is_logged_out(there, ENDED)
        await expect(there["log"].locator("li").first).to_contain_text('"code": "session_revoked"')
        await expect(sessions(here)).to_have_count(1)
        await here["verify"].click()
        await expect(here["verified"]).to_have_text(name)


async def test_a_window_may_end_its_own_session(demo: OpenDemo, name: str) -> None:
    async with two_windows(demo, name) as (here, there):
        await sessions(here, "Desk").get_by_role("button", name="End this session").click()
        await is_logged_out(here, "Session ended: it was this page's own")
        await expect(here["login"]).to_be_focused()
        await look(there)
        await expect(sessions(there)).to_have_count(1, timeout=SECONDS)
        await expect(sessions(there)).to_contain_text("this session")


async def test_a_button_that_meets_the_end_of_its_session_first_says_so(demo: OpenDemo, name: str) -> None:
    """No look of the page comes before it, for its clock stands still."""
    async with two_windows(demo, name) as (here, there):
        await there.page.clock.pause_at(await there.page.evaluate("Date.now() + 60_000"))
        await here["endOthers"].click()
        await expect(here["sessionsResult"]).to_have_text("Ended 1 other session. This one goes on.")
        await there["refresh"].click()
        await is_logged_out(there, ENDED)


async def test_all_others_can_be_ended(demo: OpenDemo, name: str) -> None:
    async with two_windows(demo, name) as (here, there), demo(before=hurry) as third:
        await third.log_in(name)
        await here["endOthers"].click()
        await expect(here["sessionsResult"]).to_have_text("Ended 2 other sessions. This one goes on.")
        await look(there)
        await is_logged_out(there, ENDED)
        await look(third)
        await is_logged_out(third, ENDED)
        await expect(sessions(here)).to_have_count(1)
        await expect(here["accessToken"]).to_have_class("card live")


async def test_all_sessions_can_be_ended(demo: OpenDemo, name: str) -> None:
    async with two_windows(demo, name) as (here, there):
        await here["endAll"].click()
        await is_logged_out(here, "Logged out everywhere: ended 2 sessions, this one among them.")
        await look(there)
        await is_logged_out(there, ENDED)


async def test_a_new_password_logs_the_other_window_out_and_the_old_one_is_refused(demo: OpenDemo, name: str) -> None:
    async with two_windows(demo, name) as (here, there):
        await here["currentPassword"].fill("not the password")
        await here["newPassword"].fill(NEW_PASSWORD)
        await here["changePassword"].click()
        await expect(here["passwordResult"]).to_have_text("401: Wrong password.")
        await here["currentPassword"].fill(PASSWORD)
        await here["newPassword"].press("Enter")
        await expect(here["passwordResult"]).to_contain_text("Password changed.")
        await expect(here["currentPassword"]).to_have_value("")
        await expect(here["newPassword"]).to_have_value("")
        entry = here["log"].locator("li").filter(has_text="/auth/password").first
        await expect(entry).to_contain_text('"currentPassword": "•••••"')
        await expect(entry).to_contain_text('"newPassword": "•••••"')
        for secret in (PASSWORD, NEW_PASSWORD, "not the password"):
            await expect(here["log"]).not_to_contain_text(secret)
        await look(there)
        await is_logged_out(there, ENDED)
        await there["login"].click()
        await expect(there["result"]).to_have_text("401: Wrong username or password.")
        await there["password"].fill(NEW_PASSWORD)
        await there["login"].click()
        await expect(there["result"]).to_contain_text("Logged in.")


async def test_an_account_is_deleted_once_that_is_confirmed(demo: OpenDemo, name: str) -> None:
    async with two_windows(demo, name) as (here, there):
        question = here.page.get_by_role("dialog", name="Delete this account?")
        await here["deletionPassword"].fill("not the password")
        await here["deletionPassword"].press("Enter")
        await expect(question).to_contain_text(name)
        await expect(here["keepAccount"]).to_be_focused()
        await here["keepAccount"].click()
        await expect(question).to_be_hidden()
        await expect(here["deleteAccount"]).to_be_enabled()
        await expect(here["log"]).not_to_contain_text("/auth/account")

        await here["deleteAccount"].click()
        await here["confirmDeletion"].click()
        await expect(here["deletionResult"]).to_have_text("401: Wrong password.")
        await here["deletionPassword"].fill(PASSWORD)
        await here["deleteAccount"].click()
        await here["confirmDeletion"].click()
        await is_logged_out(here, f"Account deleted. The name {name} is free again.")
        await expect(here["deletionPassword"]).to_have_value("")
        await expect(here["log"]).not_to_contain_text(PASSWORD)
        await look(there)
        await is_logged_out(there, ENDED)
        await here.sign_up(name)


async def test_a_question_that_is_open_closes_when_the_session_ends(demo: OpenDemo, name: str) -> None:
    async with two_windows(demo, name) as (here, there):
        await there["deleteAccount"].click()
        await expect(there["confirmation"]).to_be_visible()
        await here["endOthers"].click()
        await look(there)
        await is_logged_out(there, ENDED)
        await expect(there["confirmation"]).to_be_hidden()
        await expect(there["login"]).to_be_focused()


async def test_looking_again_and_again_makes_one_entry_in_the_log(demo: OpenDemo, name: str) -> None:
    async with demo(before=hurry) as window:
        await window.log_in(name)
        looks = window["log"].locator("li").filter(has_text="/auth/sessions")
        for times in (2, 3):
            await window.page.clock.fast_forward(2500)
            await expect(looks).to_contain_text(f"{times} times, last at ")
        await expect(looks).to_have_count(1)
        await expect(looks.locator("details")).not_to_have_attribute("open", "")
        await expect(window["log"].locator("details[open]")).to_contain_text("/auth/login")
        await window["clear"].click()
        await window.page.clock.fast_forward(2500)
        await expect(looks).to_have_count(1)

        button = sessions(window).get_by_role("button")
        await button.focus()
        await window.page.clock.fast_forward(2500)
        await expect(looks).to_contain_text("2 times")
        await expect(button).to_be_focused()


async def test_a_look_that_a_logout_overtook_says_nothing_any_more(demo: OpenDemo, name: str) -> None:
    asked, answer, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        asked.set()
        await answer.wait()
        await route.continue_()

    async with demo(before=hurry) as window:
        await window.log_in(name)
        window.page.on("requestfinished", lambda request: done.set() if "/auth/sessions" in request.url else None)
        await window.page.route("**/auth/sessions", hold)
        await look(window)
        await asked.wait()
        await window["logout"].click()
        await expect(window["result"]).to_contain_text("Logged out")
        done.clear()
        answer.set()
        await done.wait()
        await window["listKeys"].click()
        await expect(window["keysResult"]).to_contain_text("Fetched: this service publishes no keys.")
        await is_logged_out(window, "Logged out")


async def test_the_page_says_when_it_cannot_look_and_goes_on_as_soon_as_it_can(demo: OpenDemo, name: str) -> None:
    async with demo(before=hurry) as window:
        await window.log_in(name)
        await window.page.route("**/auth/sessions", lambda route: route.abort())
        await window.page.clock.fast_forward(2500)
        await expect(window["asOf"]).to_contain_text("answers, but does not let this page read it")
        await expect(window["log"].locator("details[open]")).to_contain_text("/auth/login")
        await expect(window["accessToken"]).to_have_class("card live")
        await window.page.unroute("**/auth/sessions")
        await window.page.clock.fast_forward(10_000)
        await expect(window["asOf"]).to_contain_text("as of")

        expired = {"error": "The token is invalid or has expired.", "code": "invalid_token"}
        cors = {"Access-Control-Allow-Origin": "*"}
        await window.page.route("**/auth/sessions", lambda route: route.fulfill(status=401, json=expired, headers=cors))
        await window.page.clock.fast_forward(2500)
        await expect(window["asOf"]).to_have_text("The access token has expired: refresh to see the list as it is now.")
        await window.page.unroute("**/auth/sessions")
        await window["refresh"].click()
        await expect(window["asOf"]).to_contain_text("as of")


async def test_a_list_that_cannot_be_had_after_a_login_says_why(demo: OpenDemo, name: str) -> None:
    """Also where the API has none; the card said "Log in to see yours"."""
    async with demo(before=hurry) as window:
        refusal = {"error": "Not found.", "code": "not_found"}
        cors = {"Access-Control-Allow-Origin": "*"}
        await window.page.route("**/auth/sessions", lambda route: route.fulfill(status=404, json=refusal, headers=cors))
        await expect(window["sessions"]).to_contain_text("Log in to see yours")
        await window["username"].fill(name)
        await window["password"].fill(PASSWORD)
        await window["login"].click()
        await window.page.clock.fast_forward(2500)
        await expect(window["asOf"]).to_have_text("404: Not found.")
        await expect(window["asOf"]).to_be_visible()
        await expect(window["sessions"].get_by_text("Log in to see yours")).to_be_hidden()
        await window["logout"].click()
        await expect(window["sessions"].get_by_text("Log in to see yours")).to_be_visible()
        await expect(window["asOf"]).to_have_text("")


async def test_what_a_client_says_of_itself_is_shown_as_text(demo: OpenDemo, name: str) -> None:
    """And it fits a narrow screen, though it has no gap to break at."""
    said = "<img src=x onerror=alert(1)><b>&amp;" + "x" * 200
    async with demo(user_agent=said, viewport={"width": 380, "height": 800}) as window:
        await window.log_in(name)
        await expect(sessions(window).locator("p")).to_have_text(said)
        await expect(window.page.locator("img")).to_have_count(0)
        root = "document.documentElement"
        assert await window.page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"), "nothing sticks out sideways"
        assert window.complaints == []


async def test_under_hs256_no_key_has_an_id(demo: OpenDemo, name: str) -> None:
    async with demo() as window:
        await expect(window["published"]).to_have_text("Not fetched yet.")
        await window["listKeys"].click()
        await expect(window["published"]).to_have_text("none: signed with a shared secret (HS256)")
        await expect(window["kid"]).to_have_text("No token yet.")
        await window.log_in(name)
        await expect(window["kid"]).to_have_text("none: a shared secret (HS256) has no id")


async def test_under_es256_the_page_shows_which_of_the_published_keys_signed(
    demo: OpenDemo, mariadb: LocalDatabase, tmp_path: Path, new_name: Callable[[], str]
) -> None:
    folder, name = tmp_path / "keys", new_name()
    rotation = KeyRotation(folder=KeyFolder(folder), max_age=300, longest_lifetime=3600)
    signing, waiting = rotation.new("ES256", now=0), rotation.new("ES256", now=0)
    with Server(mariadb.url, tmp_path, JWT_ALGORITHM="ES256", JWT_KEYS=str(folder)) as server:
        async with demo(api=server.url) as window:
            await window.sign_up(name)
            await window.log_in(name)
            await expect(window["kid"]).to_have_text(signing)
            await window["listKeys"].click()
            keys = window["published"].locator("li")
            await expect(keys).to_have_count(2)
            await expect(keys.filter(has_text=signing)).to_contain_text("this token's")
            await expect(keys.filter(has_text=waiting)).not_to_contain_text("this token's")
            assert window.complaints == []
