"""When two names are one account, and what is no name at all (RFC 8265)."""

import time
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymysql.cursors import Cursor

from service.errors import InvalidUsername
from service.usernames import MAX_LENGTH, Username, parse
from tests.conftest import PASSWORD, StartClient

# Each is put before a number of its own, so that no other test has the account.
ONE_ACCOUNT = {
    "case": ["Alice", "alice", "ALICE", "aLiCe"],
    "full-width letters": ["Ｂｏｂ", "Bob", "ｂｏｂ"],
    "full-width digits": ["n１２３", "n123"],
    "half-width katakana": ["ｶﾞｷﾞ", "ガギ"],
    "composed and decomposed": ["Zoe\u0308", "Zo\xeb", "ZO\xcb", "zoe\u0308"],
    "order of combining marks": ["a\u0323\u0302", "\u1ead", "a\u0302\u0323"],
    "Hangul": ["\u1112\u1161\u11ab", "한"],
    "Greek": ["ΩΜΕΓΑ", "ωμεγα", "\u2126ΜΕΓΑ"],
    "Cyrillic": ["ИВАН", "иван", "Иван"],
    "Kelvin and Ångström signs": ["\u212a\u212b", "kå", "KA\u030a"],
    "capital sharp s": ["Straẞe", "straße"],
    "dotted capital I": ["İx", "i\u0307x"],
}
DIFFERENT_ACCOUNTS = {
    "accents": ["jose", "josé", "josè", "jösé"],
    "sharp s": ["strasse", "straße"],
    "scripts that look alike": ["paypal", "pаypal", "ραypal", "раураl"],
    "Turkish i": ["isik", "ısık"],
    "final sigma": ["ας", "ασ"],
    "ligatures": ["aether", "æther"],
    "4-byte characters": ["𠮷田", "吉田", "𠮶田"],
    "kana": ["はは", "ハハ", "ぱぱ", "ばば"],
    "digits": ["n1", "n१", "n১"],
    "a joiner where its script needs it": ["क्\u200dष", "क्ष"],
    "punctuation": ["a.b", "a-b", "a_b", "a%b", "a'b", "ab"],
}
REFUSED = {
    "a space": " ", "space before": " ada", "space after": "ada ", "space inside": "a da", "tab": "ada\t",
    "line end": "ada\n", "return": "a\rda", "NUL": "ada\0", "NUL inside": "a\0da", "escape": "\x1b[31mada",
    "delete": "ada\x7f", "C1 control": "ada\x85", "no-break space": "ada\xa0", "em space": "ada\u2003",
    "ideographic space": "ada\u3000", "line separator": "ada\u2028", "zero-width space": "ada\u200b",
    "zero-width joiner": "a\u200dda", "zero-width non-joiner": "a\u200cda", "word joiner": "a\u2060da",
    "BOM": "\ufeffada", "soft hyphen": "ad\u00ada", "grapheme joiner": "a\u034fda", "Hangul filler": "ada\u3164",
    "variation selector": "ada\ufe0f", "tag": "ada\U000e0041", "bidi override": "ada\u202egnp",
    "bidi isolate": "\u2066ada\u2069", "left-to-right mark": "ada\u200e", "mixed direction": "adaא",
    "emoji": "ada👍", "flag": "🇩🇪", "family": "👨\u200d👩\u200d👧", "heart": "♥ada", "currency": "ada€",
    "private use": "ada\ue000", "unassigned": "ada\u0378", "noncharacter": "ada\uffff", "last one": "ada\U0010ffff",
    "ligature": "ﬁn", "digraph": "ǆ", "Roman numeral": "Ⅳ", "superscript": "ada²", "circled": "ⓐda", "long s": "ſ",
    "mathematical": "𝐚𝐝𝐚", "fraction": "ada½",
}  # fmt: skip


@pytest.fixture
async def client(start: StartClient) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service with cheap hashing, for many logins."""
    async with start() as http:
        yield http


async def signup(client: httpx.AsyncClient, username: str, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/auth/signup", json={"username": username, "password": password})


async def login(client: httpx.AsyncClient, username: str, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/auth/login", json={"username": username, "password": password})


async def verified_name(client: httpx.AsyncClient, token: str) -> object:
    answer = await client.get("/auth/verify", headers={"Authorization": f"Bearer {token}"})
    return answer.json()["user"]["username"]


@pytest.mark.parametrize("spellings", ONE_ACCOUNT.values(), ids=ONE_ACCOUNT)
async def test_spellings_that_rfc_8265_folds_are_one_account(
    client: httpx.AsyncClient, new_name: Callable[[], str], spellings: list[str]
) -> None:
    """REQUIREMENTS 47, 48: whichever signs up, any logs in, and verify answers the one that signed up."""
    assert len({parse(spelling).key for spelling in spellings}) == 1
    suffix = new_name()
    names = [spelling + suffix for spelling in spellings]
    assert (await signup(client, names[0])).status_code == 200
    typed = parse(names[0]).text
    for spelling in names:
        taken = await signup(client, spelling, "another password")
        assert (taken.status_code, taken.json()["code"]) == (409, "username_taken")
        answer = await login(client, spelling)
        assert answer.status_code == 200
        assert await verified_name(client, answer.json()["token"]) == typed
        renewed = await client.post("/auth/refresh", json={"refreshToken": answer.json()["refreshToken"]})
        assert await verified_name(client, renewed.json()["token"]) == typed
        assert (await login(client, spelling, "another password")).status_code == 401


@pytest.mark.parametrize("spellings", DIFFERENT_ACCOUNTS.values(), ids=DIFFERENT_ACCOUNTS)
async def test_spellings_that_rfc_8265_keeps_apart_are_accounts_of_their_own(
    client: httpx.AsyncClient, new_name: Callable[[], str], spellings: list[str], sql: Cursor
) -> None:
    """REQUIREMENTS 47, 51: never another's account by the database's collation; each round-trips."""
    suffix = new_name()
    passwords = {suffix + spelling: f"password of {number}" for number, spelling in enumerate(spellings)}
    for username, password in passwords.items():
        assert (await signup(client, username, password)).status_code == 200, username
    for username, password in passwords.items():
        for other, others_password in passwords.items():
            answer = await login(client, other, password)
            assert answer.status_code == (200 if password == others_password else 401)
        token = (await login(client, username, password)).json()["token"]
        assert await verified_name(client, token) == username
    sql.execute("select username from users where username in %s", (list(passwords),))
    assert {row[0] for row in sql.fetchall()} == set(passwords)


@pytest.mark.parametrize("username", REFUSED.values(), ids=REFUSED)
async def test_what_is_no_name_is_refused_at_signup_and_unknown_at_login(
    client: httpx.AsyncClient, username: str
) -> None:
    """REQUIREMENTS 47."""
    answer = await signup(client, username)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_username")
    answer = await login(client, username)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")


@pytest.mark.parametrize(
    "typed", ["Ada", "ADA", "JOSÉ", "Иван", "𠮷田", "O'Brien", "ada@example.org", "שלום", "한글", "ＡＤＡ", "Zoe\u0308"]
)
async def test_verify_answers_the_name_as_it_was_typed(
    client: httpx.AsyncClient, new_name: Callable[[], str], sql: Cursor, typed: str
) -> None:
    """REQUIREMENTS 48, 51: with its capitals; full-width letters and decomposed ones in their usual form."""
    username = typed if typed == "שלום" else typed + new_name()  # letters of one direction only
    expected = unicodedata.normalize("NFKC" if "Ａ" in typed else "NFC", username)
    assert (await signup(client, username)).status_code == 200
    answer = await login(client, username.swapcase())
    assert await verified_name(client, answer.json()["token"]) == expected
    sql.execute("select username, username_key from users where username = %s", expected)
    assert sql.fetchall() == ((expected, expected.lower()),)


@pytest.mark.parametrize(
    ("username", "is_accepted"),
    [
        ("x" * 64, True), ("x" * 65, False), ("x" * 257, False), ("x" * 10_000, False), ("𠮷" * 64, True),
        ("𠮷" * 65, False), ("É" * 64, True), ("E\u0301" * 64, True), ("E\u0301" * 65, False), ("İ" * 32, True),
        ("\u1112\u1161\u11ab" * 64, True), ("\u1112\u1161\u11ab" * 65, False), ("İ" * 33, False), ("İ" * 64, False),
        ("ᾷ" * 64, True), ("α\u0342\u0345" * 64, True), ("α\u0342\u0345" * 65, False),
    ],
    ids=lambda value: f"{len(value)} from {value[:3]!a}" if isinstance(value, str) else str(value),
)  # fmt: skip
async def test_a_name_has_64_characters_at_most_after_folding_too(
    client: httpx.AsyncClient, sql: Cursor, username: str, is_accepted: bool
) -> None:
    """REQUIREMENTS 49: the length of the columns; İ folds to two characters. Nothing is ever cut."""
    answer = await signup(client, username)
    if is_accepted:
        assert answer.status_code in {200, 409}, "409 if the same name was spelt otherwise before"
        token = (await login(client, username)).json()["token"]
        assert await verified_name(client, token) == unicodedata.normalize("NFC", username)
    else:
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_username")
        assert "64" in answer.json()["error"]
    sql.execute("select max(char_length(username)), max(char_length(username_key)) from users")
    assert max(sql.fetchall()[0]) <= MAX_LENGTH


@pytest.mark.parametrize(
    "piece", ["x", "é", "e\u0301", "\u0300\u0316", "İ", "각", "א", "👍", "\u200d", "a" + "\u0345" * 50], ids=ascii
)
def test_a_long_name_is_refused_fast(piece: str) -> None:
    """REQUIREMENTS 49: normalisation of marks out of order is quadratic where nobody limits it."""
    for length in (256, 10_000, 1_000_000):
        started = time.perf_counter()
        with pytest.raises(InvalidUsername):
            parse((piece * length)[:length])
        assert time.perf_counter() - started < 2


@pytest.mark.parametrize(("begin", "piece", "end"), [("", "・", "ア"), ("", "･", "ア"), ("ب", "٠", "")])
def test_a_name_that_is_too_long_costs_no_more_than_the_longest(begin: str, piece: str, end: str) -> None:
    """REQUIREMENTS 49: what is allowed only beside certain letters is looked for in the whole name each time."""

    def best(name: str) -> float:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            with suppress(InvalidUsername):
                parse(name)
            times.append(time.perf_counter() - started)
        return min(times)

    assert best(begin + piece * 255 + end) < best(begin + piece * 63 + end)


def test_names_are_compared_in_lower_case_and_kept_as_typed() -> None:
    """REQUIREMENTS 47, 48."""
    assert parse("Ａlice") == Username(text="Alice", key="alice")


# What folds, joins, reorders or depends on its neighbours, beside anything at all.
DELICATE = (
    "ΣσςΑαİIiıſẞßKÅ\u0301\u0307\u0308\u0316\u0323\u0345·・ーｶﾞガ\u094d\u200c\u200dक각\u1100\u1161\u11a8אａＡ１۱١'’."
)
NAMES = st.text(st.sampled_from(DELICATE) | st.characters(categories=["L", "M", "N", "P"]), min_size=1, max_size=8)


@settings(max_examples=1000, deadline=None)
@given(NAMES | st.text(st.characters(exclude_categories=())))
@example("")
@example("ada\ud800")
def test_parsing_a_parsed_name_changes_nothing(raw: str) -> None:
    """REQUIREMENTS 47: so whoever logs in with the name as verify answers it, or with its key, finds the account.

    Anything that is no name, surrogates included, raises InvalidUsername and nothing else.
    """
    try:
        name = parse(raw)
    except InvalidUsername:
        return
    assert parse(name.text) == name
    assert parse(name.key) == Username(text=name.key, key=name.key)
    assert name.text == unicodedata.normalize("NFC", name.text)
    assert 1 <= max(len(name.text), len(name.key)) <= MAX_LENGTH
    invisible = {character for character in name.text if character == " " or not character.isprintable()}
    assert invisible <= {"\u200c", "\u200d"}, "which some scripts need: RFC 5892 appendix A.1, A.2"
