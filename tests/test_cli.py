"""`mstack-auth`, as an operator and his scripts run it."""

import json
import re
import time
from pathlib import Path

import pytest

from service.keyrotation import PICK_UP
from tests.operators import Operator
from tests.signers import ES256

KID = re.compile(r"[\w-]{43}")


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path / "keys", JWT_ALGORITHM="ES256")


def test_a_whole_rotation_with_nothing_but_its_commands(operator: Operator) -> None:
    """No DATABASE_URL and no JWT_SECRET is needed."""
    first = operator.run("new")
    assert operator.err == "It signs.\n"
    second = operator.run("new")
    assert KID.fullmatch(first)
    assert re.fullmatch(r"It may sign from 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ\.\n", operator.err)
    assert [(key["kid"], key["state"]) for key in operator.listed()] == [(first, "signing"), (second, "published")]

    assert operator.run("activate", second, code=1) == ""
    assert re.fullmatch(rf"Error: {second} may sign from 20\S+Z: until then, some may not know it\n", operator.err)
    assert operator.run("activate", second, "--force") == f"{second} signs."

    assert operator.run("retire", first, code=1) == ""
    assert re.fullmatch(rf"Error: {first} may be retired from 20\S+Z: until then, tokens of it .*\n", operator.err)
    assert operator.run("retire", "--force", first) == f"{first} is gone."
    assert operator.run("retire", "--force", second, code=1) == ""
    assert operator.err == f"Error: {second} signs: activate another one first\n"
    assert [key["kid"] for key in operator.listed()] == [second]


def test_the_times_follow_the_settings(operator: Operator) -> None:
    settings = {"JWKS_MAX_AGE": "1h", "JWT_EXPIRY": "10m", "REFRESH_EXPIRY": "2d"}
    operator = Operator(operator.folder, **settings)
    before = int(time.time())
    first, second = operator.run("new"), operator.run("new")
    operator.run("activate", second, "--force")
    after = int(time.time())
    signing, superseded = operator.listed()
    assert (signing["kid"], superseded["kid"]) == (second, first)
    assert (signing["activate_from"], signing["retire_from"]) == (None, None)
    assert before <= signing["created"] <= signing["activated"] == superseded["superseded"] <= after
    assert superseded["activate_from"] == superseded["created"] + 3600 + PICK_UP
    assert superseded["retire_from"] == superseded["superseded"] + 2 * 86400 + PICK_UP


def test_a_key_is_for_the_configured_algorithm_unless_another_one_is_named(operator: Operator) -> None:
    operator.run("new")
    operator.run("new", JWT_ALGORITHM="HS256")
    other = operator.run("new", "--algorithm", "RS256")
    operator.run("new", JWT_ALGORITHM="RS256")
    assert sorted(key["algorithm"] for key in operator.listed()) == ["ES256", "ES256", "RS256", "RS256"]
    operator.run("activate", other, code=1)
    assert operator.err == f"Error: {other} is for RS256, not ES256: set JWT_ALGORITHM if the service shall change\n"


def test_a_person_sees_a_table(operator: Operator) -> None:
    kid = operator.run("new")
    heads, row = operator.run("list").splitlines()
    assert heads.split("  ")[0].strip() == "KID"
    assert re.fullmatch(rf"{kid}  ES256      signing  20\S+Z  20\S+Z  -           -              -", row)


def test_the_folder_can_be_named_on_the_command_line(operator: Operator, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    operator.run("new", "--folder", str(elsewhere), JWT_KEYS="")
    assert [path.suffix for path in elsewhere.glob("*.pem")] == [".pem"]
    assert not operator.folder.exists()
    operator.run("list", code=2, JWT_KEYS="")
    assert operator.err == "Error: JWT_KEYS is not set, and there is no --folder\n"


@pytest.mark.parametrize("kid", ["-", "--", "-f", "-Xu", "--forced"])
def test_a_kid_that_begins_with_a_hyphen_is_a_kid(operator: Operator, kid: str) -> None:
    """One in 64 does."""
    operator.run("new")
    for command in ("activate", "retire"):
        operator.run(command, *(["--"] if kid == "--" else []), kid, code=2)
        assert "there is no" in operator.err
        assert kid in operator.err


@pytest.mark.parametrize("arguments", [["activate"], ["retire"], ["new", "--algorithm", "HS256"], ["list", "x"], ["?"]])
def test_wrong_usage_is_told_apart_from_a_refusal(operator: Operator, arguments: list[str]) -> None:
    operator.run(*arguments, code=2)
    assert "Error: " in operator.err


def test_an_unusable_setting_or_folder_is_one_line(operator: Operator, tmp_path: Path) -> None:
    operator.run("list", code=2)
    assert operator.err == f"Error: {operator.folder}: No such file or directory\n"
    operator.run("list", code=2, JWKS_MAX_AGE="soon")
    assert operator.err == "Error: JWKS_MAX_AGE must be a duration such as 300, 5m, 12h or 7d, not 'soon'\n"
    operator.folder.mkdir()
    (operator.folder / "key.pem").write_bytes(ES256.pem[:99])
    for command in (["list"], ["new"], ["activate", "x"], ["retire", "x"]):
        operator.run(*command, code=2)
        assert operator.err.count("\n") == 1
        assert "key.pem: it is not a private key" in operator.err
    (tmp_path / "file").touch()
    operator.run("new", code=2, JWT_KEYS=str(tmp_path / "file"))
    assert operator.err == f"Error: {tmp_path}/file: File exists\n"


def test_no_key_is_ever_shown(operator: Operator) -> None:
    """REQUIREMENTS 6."""
    operator.run("new")
    [pem] = operator.folder.glob("*.pem")
    body = pem.read_text().splitlines()[1]
    for command in (["list"], ["list", "--json"], ["new"]):
        shown = operator.run(*command) + operator.err
        assert body not in shown
        assert "PRIVATE" not in shown


@pytest.mark.parametrize("created", ["1e30", "-1", '"yesterday"', "9" * 30, "253402300800"])
def test_an_absurd_time_in_the_record_is_one_line_that_names_the_file(operator: Operator, created: str) -> None:
    kid = operator.run("new")
    record = operator.folder / "ring.json"
    record.write_text(f'{{"signing": "{kid}", "keys": {{"{kid}": {{"created": {created}}}}}}}')
    for command in (["list"], ["activate", kid]):
        operator.run(*command, code=2)
        assert operator.err.startswith(f"Error: {record}: ")
        assert operator.err.count("\n") == 1


def test_each_step_can_be_read_by_a_program(operator: Operator) -> None:
    first, second = (json.loads(operator.run("new", "--json"))["kid"] for _ in range(2))
    assert operator.err == ""
    assert json.loads(operator.run("activate", second, "--force", "--json")) == {"kid": second, "state": "signing"}
    assert json.loads(operator.run("retire", first, "--force", "--json")) == {"kid": first, "state": "retired"}
