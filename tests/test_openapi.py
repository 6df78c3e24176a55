"""The OpenAPI document, and a service that does as it says: Schemathesis tries to find where not."""

import json
import re
import subprocess
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from starlette.routing import Route

from service.app import create_app
from service.localdb import LocalDatabase
from service.settings import Settings
from service.web.openapi import describe
from service.web.operation import Operation
from service.web.payload import encode
from tests.conformance import operations
from tests.conftest import StartClient
from tests.fuzz_requests import CODES
from tests.server import CLIENT_SECRET, ROOT, TOOLS, Server, untraced

CASES = 5  # at most, of each operation in the phases that make them up; the others enumerate theirs


@pytest.fixture(scope="module")
def document() -> Any:
    """What a service describes that has everything switched on."""
    return json.loads(encode(describe(operations())))


async def test_the_document_is_served_and_may_be_kept(start: StartClient, document: Any) -> None:
    async with start(introspection_secret=CLIENT_SECRET.encode()) as client:
        answer = await client.get("/openapi.json")
        refused = await client.post("/openapi.json")
    assert answer.headers.get_list("content-type") == ["application/json"]
    assert answer.headers.get_list("cache-control") == ["public, max-age=300"]
    assert answer.json() == document
    assert refused.status_code == 405


async def test_what_is_switched_off_is_not_described(start: StartClient) -> None:
    async with start() as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    assert "/auth/revoke" in paths
    assert "/auth/introspect" not in paths


def test_a_clone_that_was_not_installed_describes_itself_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows no release."""

    def distribution(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", distribution)
    assert describe([])["info"]["version"] == "unknown"


def test_the_document_is_openapi_3_1(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    validate(document, cls=OpenAPIV31SpecValidator)


def test_every_route_is_described_with_each_of_its_methods(settings: Settings, document: Any) -> None:
    app = create_app(settings)
    for route in app.routes:
        assert isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}:
            assert method.lower() in document["paths"].get(route.path_format, {}), f"{method} {route.path}"


def described(document: Any) -> list[Any]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_every_operation_has_a_name_of_its_own_and_a_summary(document: Any) -> None:
    found = described(document)
    assert len({operation["operationId"] for operation in found}) == len(found)
    for operation in found:
        assert re.fullmatch(r"[A-Z].*[.]", operation["summary"])


def test_an_answer_with_headers_of_its_own_is_described_as_such() -> None:
    async def probe(request: object) -> None:
        """Say that all is well."""

    operation = Operation("GET", "/probe", probe, gives={}, headers={"Remote-User": "Who asks."})
    described_alone = json.loads(encode(describe([operation])))
    validate(described_alone, cls=OpenAPIV31SpecValidator)
    success = described_alone["paths"]["/probe"]["get"]["responses"]["200"]
    assert success["content"] == {"application/json": {"schema": {"type": "object"}, "example": {}}}
    assert success["headers"]["Remote-User"] == {"description": "Who asks.", "schema": {"type": "string"}}
    assert success["headers"].keys() - {"Remote-User"} == {"X-Request-ID", "Cache-Control", "X-Content-Type-Options"}


def test_an_answer_is_described_with_all_that_it_always_has(document: Any) -> None:
    """So that a client made from the document need not ask whether `valid` is there."""
    schemas = document["components"]["schemas"]
    for name in ("Verified", "VerifyRefusal", "Done", "SessionsEnded", "Readiness", "Unreadiness", "Checks"):
        assert schemas[name]["required"] == list(schemas[name]["properties"])
    assert schemas["Introspected"]["required"] == ["active"]
    assert "required" not in schemas["Spared"] or schemas["Spared"]["required"] == []
    assert schemas["Session"]["properties"]["createdAt"]["format"] == "date-time"


def test_each_refusal_names_the_headers_that_it_comes_with(document: Any) -> None:
    """REQUIREMENTS 58: and 503 says when to come back."""
    for operation in described(document):
        for status, answer in operation["responses"].items():
            names = set(answer["headers"])
            assert ("WWW-Authenticate" in names) is (status == "401")
            assert ("Retry-After" in names) is (status in {"429", "503"})
            assert "X-Request-ID" in names


def test_every_example_is_what_its_schema_says(document: Any) -> None:
    count = 0
    for operation in described(document):
        for described_body in [operation.get("requestBody", {"content": {}}), *operation["responses"].values()]:
            for body in described_body["content"].values():
                validator = OAS31Validator({**body["schema"], "components": document["components"]})
                examples = [each["value"] for each in body.get("examples", {}).values()] or [body["example"]]
                for example in examples:
                    validator.validate(example)
                    count += 1
    assert count > 100


def test_the_document_and_the_readme_name_the_same_statuses_and_codes(document: Any) -> None:
    """But for those that no operation can answer: of a preflight, and of another method."""
    found: set[str] = set()
    for operation in described(document):
        for status, refusal in operation["responses"].items():
            if status != "200":
                codes = set(refusal["content"]["application/json"]["schema"]["properties"]["code"]["enum"])
                assert {(int(status), code) for code in codes} <= CODES, f"{operation['operationId']} {status}"
                found |= codes
    assert {code for _, code in CODES} - found == {"cors_refused", "method_not_allowed"}


def test_schemathesis_finds_no_answer_that_the_document_does_not_tell(mariadb: LocalDatabase, tmp_path: Path) -> None:
    """REQUIREMENTS 53, 61, 62: all its checks, with users who are logged in; the same cases each time."""
    report = tmp_path / "report.json"
    with Server(mariadb.url, tmp_path) as server:
        how = ["--checks", "all", "--max-examples", str(CASES), "--generation-deterministic", "--warnings", "off"]
        where = ["--report", "json", "--report-json-path", str(report), "--no-color"]
        own = {"SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks", "PYTHONPATH": str(ROOT), "SERVICE_URL": server.url}
        done = subprocess.run(
            [str(TOOLS / "schemathesis"), "run", f"{server.url}/openapi.json", *how, *where],
            cwd=tmp_path, env=untraced(**own), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(report.read_text())
        assert found["test_cases"]["generated"] > 300
        assert {phase["status"] for phase in found["phases"].values()} == {"success"}
        paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
        everything = {f"{method.upper()} {path}" for path, each in paths.items() for method in each}
        rates = found["valid_rates"].items()
        accepted = {label for label, phases in rates if any(each["accepted"] for each in phases.values())}
        assert accepted == everything - {"GET /openapi.json"}, "it found what each endpoint is for"
        assert "Traceback" not in server.log.read_text()
