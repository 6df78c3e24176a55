"""The demonstration page in Chromium, from disk and from another origin, against the service on its own port."""

import asyncio
import base64
import json
import re
import shutil
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Request, Route, async_playwright, expect

from service.localdb import LocalDatabase, free_port
from tests.conftest import PASSWORD
from tests.server import ROOT, Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = ROOT / "tests" / "demo.html"
PICTURES = ROOT / ".artifacts"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PATIENCE = 15_000  # ms
OPEN_BUTTONS = ("signup", "login", "listKeys")  # for everybody, the others for those who are logged in
OWN_BUTTONS = (
    *("verify", "refresh", "logout"),
    *("listSessions", "endOthers", "endAll", "changePassword", "deleteAccount"),
)
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Demo:
    """The page in a window of its own, with what it asked for and what it complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requested: set[str] = field(default_factory=set)

    def __getitem__(self, identity: str) -> Locator:
        """The element with an id."""
        return self.page.locator(f"#{identity}")

    async def sign_up(self, username: str) -> None:
        await self["username"].fill(username)
        await self["password"].fill(PASSWORD)
        await self["signup"].click()
        await expect(self["result"]).to_contain_text("Signed up.")

    async def log_in(self, username: str) -> None:
        await self["username"].fill(username)
        await self["password"].fill(PASSWORD)
        await self["login"].click()
        await expect(self["result"]).to_contain_text("Logged in.")
        await expect(self["sessions"].get_by_text("this session")).to_be_visible()

    async def picture(self, name: str) -> None:
        """Keeps a picture of the whole page among the artifacts."""
        PICTURES.mkdir(exist_ok=True)
        await self.page.screenshot(path=PICTURES / name, full_page=True)

    def note_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        self.requested.add(f"{parts.scheme}://{parts.netloc}")


OpenDemo = Callable[..., AbstractAsyncContextManager[Demo]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium, or else the one that Playwright installed."""
    expect.set_options(timeout=PATIENCE)
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=executable, args=FLAGS, chromium_sandbox=False)
        yield chromium
        await chromium.close()


@pytest.fixture
def demo(browser: Browser, server: Server) -> OpenDemo:
    """Opens the page in a fresh profile, at `api` or the service's address; options are those of a browser context."""

    @asynccontextmanager
    async def open_demo(
        address: str = PAGE.as_uri(), api: str | None = None, before: Callable[[Page], Awaitable[Any]] | None = None,
        **options: Any,
    ) -> AsyncIterator[Demo]:  # fmt: skip
        async with await browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}) as context:
            context.set_default_timeout(PATIENCE)
            window = Demo(await context.new_page())
            window.page.on("console", lambda message: window.complaints.append(message.text))
            window.page.on("pageerror", lambda error: window.complaints.append(str(error)))
            window.page.on("request", window.note_request)
            if before:
                await before(window.page)
            await window.page.goto(f"{address}?{urlencode({'api': api or server.url})}")
            yield window

    return open_demo


@pytest.fixture(scope="module")
def other_origin() -> Iterator[str]:
    """The folder of the page, served on a port of its own."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *_: object) -> None:  # noqa: A002  # the name is the base class's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=PAGE.parent)) as files:
        thread = threading.Thread(target=files.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{files.server_port}"
        files.shutdown()
        thread.join()


async def press_all_five(demo: Demo, username: str, picture: str | None = None) -> None:
    """Signs up, logs in, verifies, refreshes and logs out, and looks at the page after each."""
    access, refresh = demo["accessToken"], demo["refreshToken"]
    for identity in OWN_BUTTONS:
        await expect(demo[identity]).to_be_disabled()
        await expect(demo[identity]).to_contain_text("log in first")

    await demo.sign_up(username)
    await demo.log_in(username)
    await expect(access.locator(".claims")).to_contain_text(f'"username": "{username}"')
    await expect(access.locator(".claims")).to_contain_text('"type": "access"')
    await expect(refresh.locator(".claims")).to_contain_text('"gen": 0')
    await expect(refresh.locator(".countdown")).to_have_text(re.compile(r"6 d 23:59:\d\d|7 d 00:00:00"))
    countdown = access.locator(".countdown")
    await expect(countdown).to_have_text(re.compile(r"0[45]:\d\d"))
    await expect(countdown).not_to_have_text(await countdown.inner_text())
    first = await access.locator(".raw").inner_text(), await refresh.locator(".raw").inner_text()
    assert [token.count(".") for token in first] == [2, 2]

    await demo["verify"].click()
    await expect(demo["verified"]).to_have_text(username)

    await demo["refresh"].click()
    await expect(demo["result"]).to_contain_text("Refreshed.")
    await expect(refresh.locator(".claims")).to_contain_text('"gen": 1')
    second = await access.locator(".raw").inner_text(), await refresh.locator(".raw").inner_text()
    assert first[0] != second[0]
    assert first[1] != second[1]
    await demo["verify"].click()
    await expect(demo["verified"]).to_have_text(username)
    if picture:
        await demo.picture(picture)

    await demo["logout"].click()
    await expect(demo["result"]).to_contain_text("Logged out")
    await expect(access.locator(".raw")).to_be_empty()
    await expect(refresh.locator(".raw")).to_be_empty()
    await expect(demo["logout"]).to_be_disabled()
    lines = [re.split(r"\s+", line)[:3] for line in await demo["log"].locator("summary").all_inner_texts()]
    assert lines == [
        ["POST", "/auth/logout", "200"],
        ["GET", "/auth/verify", "200"],
        ["POST", "/auth/refresh", "200"],
        ["GET", "/auth/verify", "200"],
        ["GET", "/auth/sessions", "200"],
        ["POST", "/auth/login", "200"],
        ["POST", "/auth/signup", "200"],
    ]
    assert second[1] in (await demo["log"].locator("li").first.inner_text()), "logout sent the new refresh token"


async def test_all_five_buttons_work_from_a_file(demo: OpenDemo, server: Server, new_name: Callable[[], str]) -> None:
    async with demo() as window:
        await press_all_five(window, new_name(), "demo.png")
        assert window.complaints == []
        assert window.requested == {"file://", server.url}


async def test_all_five_buttons_work_from_another_origin(
    demo: OpenDemo, server: Server, other_origin: str, new_name: Callable[[], str]
) -> None:
    async with demo(f"{other_origin}/{PAGE.name}") as window:
        await press_all_five(window, new_name())
        assert window.complaints == []
        assert window.requested == {other_origin, server.url}


@pytest.mark.parametrize("begin", ["Ελένη-", "<img/src=x/onerror=alert(1)>&amp;"])
async def test_a_name_is_shown_as_it_was_typed(demo: OpenDemo, new_name: Callable[[], str], begin: str) -> None:
    username = begin + new_name()
    async with demo() as window:
        await window.sign_up(username)
        await window.log_in(username)
        await window["verify"].click()
        await expect(window["verified"]).to_have_text(username)
        for card in (window["accessToken"], window["refreshToken"]):
            await expect(card.locator(".claims")).to_contain_text(f'"username": "{username}"')
        await expect(window["log"]).to_contain_text(username)
        await expect(window.page.locator("img")).to_have_count(0)
        assert window.complaints == []


async def test_enter_in_the_password_field_logs_in_and_a_wrong_password_says_so(demo: OpenDemo, name: str) -> None:
    async with demo() as window:
        await window["username"].fill(name)
        await window["password"].fill("not the password")
        await window["password"].press("Enter")
        await expect(window["result"]).to_have_text("401: Wrong username or password.")
        await expect(window["result"]).to_have_class("bad")
        await expect(window["verify"]).to_be_disabled()
        entry = window["log"].locator("li")
        await expect(entry).to_contain_text('"code": "invalid_credentials"')
        await expect(entry).to_contain_text("www-authenticate: Bearer")
        await expect(entry).to_contain_text(re.compile(r"x-request-id: \w{32}"))
        await expect(entry).to_contain_text('"password": "•••••"')
        await expect(entry).not_to_contain_text("not the password")
        await window["password"].fill(PASSWORD)
        await window["password"].press("Enter")
        await expect(window["result"]).to_contain_text("Logged in.")
        await window["clear"].click()
        await expect(entry).to_have_count(0)


async def test_an_address_where_nobody_listens_is_explained(demo: OpenDemo) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    async with demo(api=nobody) as window:
        await window["login"].click()
        await expect(window["result"]).to_have_text(f"No answer from {nobody}. Is the service running there?")
        await expect(window["log"].locator("li")).to_contain_text("no answer")
        await expect(window["login"]).to_be_enabled()


async def test_a_refusal_of_the_origin_is_explained(demo: OpenDemo, mariadb: LocalDatabase, tmp_path: Path) -> None:
    with Server(mariadb.url, tmp_path, CORS_ORIGINS="https://app.example") as strict:
        async with demo(api=strict.url) as window:
            await window["login"].click()
            await expect(window["result"]).to_contain_text("does not let this page read it")
            await expect(window["result"]).to_contain_text("must allow the origin null")


async def test_a_server_that_is_not_this_api_is_told_apart(demo: OpenDemo, other_origin: str) -> None:
    async with demo(f"{other_origin}/{PAGE.name}", api=other_origin) as window:
        await window["login"].click()
        await expect(window["result"]).to_have_text("501: an answer without a reason.")
        await expect(window["log"].locator("li")).to_contain_text("content-type: text/html")


async def test_a_token_goes_to_nobody_but_the_service_that_gave_it(
    demo: OpenDemo, name: str, other_origin: str
) -> None:
    async with demo() as window:
        await window.log_in(name)
        await window["api"].fill(other_origin)
        await window["api"].blur()
        await expect(window["result"]).to_contain_text("these tokens are sent only there")
        await window["verify"].click()
        await expect(window["verified"]).to_have_text(name)
        await window["refresh"].click()
        await expect(window["result"]).to_contain_text("Refreshed.")
        await window["currentPassword"].fill("not the password")
        await window["newPassword"].fill(PASSWORD)
        await window["changePassword"].click()
        await expect(window["passwordResult"]).to_have_text("401: Wrong password.")
        await window["logout"].click()
        await expect(window["result"]).to_contain_text("Logged out")
        assert other_origin not in window.requested
        await window["login"].click()
        await expect(window["result"]).to_contain_text(f"{other_origin} answers")


@pytest.mark.parametrize("ahead", [-3600, 3600], ids=["behind", "ahead"])
async def test_a_clock_that_is_wrong_makes_no_countdown_wrong(demo: OpenDemo, name: str, ahead: int) -> None:
    """The page runs with the clock of a computer that is an hour off."""
    async with demo(before=lambda page: page.clock.install(time=time.time() + ahead)) as window:
        await window.log_in(name)
        await expect(window["accessToken"].locator(".countdown")).to_have_text(re.compile(r"^0[45]:\d\d$"))
        await expect(window["accessToken"]).to_have_class("card live")
        await expect(window["refreshToken"].locator(".countdown")).to_have_text(
            re.compile(r"6 d 23:59:\d\d|7 d 00:00:00")
        )
        await expect(window["sessionList"].locator(".used")).to_have_text("less than a minute ago")


@pytest.mark.parametrize("iat", [None, "", False, [0], 1.5, "1e999"])
async def test_what_is_no_time_of_issue_moves_no_countdown(demo: OpenDemo, iat: object) -> None:
    """Whatever is typed as the address may answer. Python writes no 1e999."""
    claims = json.dumps({"sid": "s", "iat": iat, "exp": int(time.time()) + 300}).replace('"1e999"', "1e999")
    token = f"e30.{base64.urlsafe_b64encode(claims.encode()).decode().rstrip('=')}.x"
    pair, cors = {"token": token, "refreshToken": token}, {"Access-Control-Allow-Origin": "*"}

    async def issue(route: Route) -> None:
        preflight = {"Access-Control-Allow-Headers": "content-type", **cors}
        await route.fulfill(status=200, json=pair, headers=preflight)

    async with demo() as window:
        await window.page.route("**/auth/login", issue)
        await window["login"].click()
        await expect(window["result"]).to_contain_text("Logged in.")
        await expect(window["accessToken"].locator(".countdown")).to_have_text(re.compile(r"^0[45]:\d\d$"))
        await expect(window["refreshToken"].locator(".raw")).to_have_text(token)


async def test_keys_that_come_after_the_address_was_changed_are_not_shown(demo: OpenDemo) -> None:
    answer, asked = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        asked.set()
        await answer.wait()
        await route.continue_()

    async with demo() as window:
        await window.page.route("**/jwks.json", hold)
        await window["listKeys"].click()
        await asked.wait()
        await window["api"].fill("http://auth.example")
        await window["api"].blur()
        answer.set()
        await expect(window["keysResult"]).to_contain_text("The address was changed meanwhile")
        await expect(window["published"]).to_have_text("Not fetched yet.")


async def test_an_outcome_is_told_where_the_user_looks(demo: OpenDemo, name: str) -> None:
    async with demo(viewport={"width": 380, "height": 640}) as window:
        await window.log_in(name)
        await expect(window["result"]).to_be_in_viewport(ratio=0.9)
        await window["currentPassword"].fill("not the password")
        await window["newPassword"].fill(PASSWORD)
        await window["newPassword"].press("Enter")
        await expect(window["passwordResult"]).to_have_text("401: Wrong password.")
        await expect(window["passwordResult"]).to_be_in_viewport(ratio=0.9)
        await window["deletionPassword"].fill(PASSWORD)
        await window["deletionPassword"].press("Enter")
        await window["confirmDeletion"].click()
        await expect(window["result"]).to_contain_text("Account deleted.")
        await expect(window["result"]).to_be_in_viewport(ratio=0.9)


async def test_a_login_that_is_over_leaves_nothing_in_the_fields_of_the_account(demo: OpenDemo, name: str) -> None:
    fields = ("currentPassword", "newPassword", "deletionPassword")
    async with demo() as window:
        await window.log_in(name)
        for field_id in fields:
            await window[field_id].fill(PASSWORD)
        await window["logout"].click()
        await expect(window["result"]).to_contain_text("Logged out")
        for field_id in fields:
            await expect(window[field_id]).to_have_value("")


async def test_what_has_expired_says_what_to_do(demo: OpenDemo, name: str) -> None:
    expired = {"error": "The token is invalid or has expired.", "code": "invalid_token"}
    cors = {"Access-Control-Allow-Origin": "*"}

    async def refuse(route: Route) -> None:
        await route.fulfill(status=401, json=expired, headers=cors)

    async with demo() as window:
        await window.log_in(name)
        await window.page.route(re.compile("/auth/(verify|refresh)"), refuse)
        await window["verify"].click()
        await expect(window["result"]).to_have_text(f"401: {expired['error']} Refresh, then try again.")
        await window["refresh"].click()
        await expect(window["result"]).to_contain_text("The refresh token is invalid or has expired.")
        await expect(window["refreshToken"]).to_have_class("card empty")
        await expect(window["verify"]).to_be_disabled()


async def test_the_countdown_of_an_expired_token_says_expired(demo: OpenDemo, name: str) -> None:
    async with demo(before=lambda page: page.clock.install()) as window:
        await window.log_in(name)
        access, refresh = window["accessToken"], window["refreshToken"]
        await expect(access).to_have_class("card live")
        await window.page.clock.fast_forward("04:30")
        await expect(access).to_have_class("card soon")
        await window.page.clock.fast_forward("00:31")
        await expect(access.locator(".countdown")).to_have_text("expired")
        await expect(access).to_have_class("card expired")
        await expect(refresh).to_have_class("card live")
        await window.page.clock.fast_forward(7 * 86400 * 1000)
        await expect(refresh.locator(".countdown")).to_have_text("expired")


async def test_all_buttons_rest_while_a_request_is_under_way(demo: OpenDemo, name: str) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        asked.set()
        await answer.wait()
        await route.continue_()

    async with demo() as window:
        await window.page.route("**/auth/login", hold)
        await window["username"].fill(name)
        await window["password"].fill(PASSWORD)
        await window["login"].click()
        await asked.wait()
        for identity in (*OPEN_BUTTONS, *OWN_BUTTONS):
            await expect(window[identity]).to_be_disabled()
        answer.set()
        for identity in (*OPEN_BUTTONS, *OWN_BUTTONS):
            await expect(window[identity]).to_be_enabled()
        await expect(window["login"]).to_be_focused()


async def test_a_token_can_be_copied(demo: OpenDemo, name: str) -> None:
    async with demo(permissions=["clipboard-read", "clipboard-write"]) as window:
        await window.log_in(name)
        for card in (window["accessToken"], window["refreshToken"]):
            await card.get_by_role("button", name="Copy").click()
            await expect(card.locator(".copy")).to_have_text("Copied")
            copied = await window.page.evaluate("navigator.clipboard.readText()")
            assert copied == await card.locator(".raw").inner_text()


async def test_a_token_that_cannot_be_copied_is_selected(demo: OpenDemo, name: str) -> None:
    async with demo() as window:
        await window.log_in(name)
        await window.page.evaluate(
            "() => { document.execCommand = () => false; navigator.clipboard.writeText = () => Promise.reject();"
            " window.setTimeout = () => 0; }"  # so that the label stays
        )
        await window["accessToken"].get_by_role("button", name="Copy").click()
        await expect(window["accessToken"].locator(".copy")).to_have_text("Selected: now copy it")
        selected = await window.page.evaluate("getSelection().toString()")
        assert selected == await window["accessToken"].locator(".raw").inner_text()


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("", "http://localhost:5000"),
        ("//auth.example/", "http://auth.example"),
        ("auth.example/behind/auth", "http://auth.example/behind"),
        ("http://auth", "http://auth"),
        ("5099", "http://localhost:5099"),
        (":5099/auth", ":5099/auth"),
        ("HTTPS://u:p@auth.example:8443/?x=1#y", "https://auth.example:8443"),
        ("http://", "http://"),
    ],
)
async def test_an_address_is_taken_as_it_is_meant(demo: OpenDemo, typed: str, kept: str) -> None:
    async with demo() as window:
        await window["api"].fill(typed)
        await window["api"].blur()
        await expect(window["api"]).to_have_value(kept)


@pytest.mark.parametrize("address", ["http://", "ftp://auth.example", "mailto:ada", "http:localhost:5000"])
async def test_nothing_is_sent_to_what_is_no_address(demo: OpenDemo, other_origin: str, address: str) -> None:
    async with demo(f"{other_origin}/{PAGE.name}") as window:
        await window["api"].fill(address)
        await window["login"].click()
        await expect(window["result"]).to_contain_text("The API address is no URL")
        assert window.requested == {other_origin}


async def test_the_address_of_the_api_is_kept(demo: OpenDemo, server: Server, other_origin: str) -> None:
    """Over HTTP: on a loaded machine Chromium at times loses what a page from a file stored just before a reload."""
    address = f"{other_origin}/{PAGE.name}"
    async with demo(address) as window:
        await expect(window["api"]).to_have_value(server.url)
        await window.page.goto(address)
        await expect(window["api"]).to_have_value("http://localhost:5000")
        await window["api"].fill(" 127.0.0.1:5001/auth/ ")
        await window["api"].blur()
        await expect(window["api"]).to_have_value("http://127.0.0.1:5001")
        await window.page.reload()
        await expect(window["api"]).to_have_value("http://127.0.0.1:5001")
        await window.page.goto(address)
        await expect(window["api"]).to_have_value("http://127.0.0.1:5001")


async def test_a_changed_address_outlives_a_reload_of_the_page_from_disk(demo: OpenDemo) -> None:
    async with demo() as window:
        await window["api"].fill("http://127.0.0.1:5001")
        await window["api"].blur()
        await window.page.reload()
        await expect(window["api"]).to_have_value("http://127.0.0.1:5001")
        assert window.complaints == []


@pytest.mark.parametrize(
    ("picture", "options"),
    [("demo-narrow.png", {"viewport": {"width": 380, "height": 800}}), ("demo-dark.png", {"color_scheme": "dark"})],
)
async def test_the_page_fits_a_narrow_and_a_dark_screen(
    demo: OpenDemo, name: str, picture: str, options: dict[str, Any]
) -> None:
    async with demo(**options) as window:
        await window.log_in(name)
        await window["verify"].click()
        await expect(window["verified"]).to_be_visible()
        await window.picture(picture)
        root = "document.documentElement"
        assert await window.page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"), "nothing sticks out sideways"
