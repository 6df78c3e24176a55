"""What Prometheus scrapes: counted exactly, on a port of its own, in as many series as we have names for."""

import ast
import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families

from service import keywatch, metrics
from service.environment import InvalidSetting
from service.localdb import LocalDatabase, free_port
from service.metrics import Metrics
from service.settings import KeySettings, Settings
from tests.conftest import PASSWORD, StartClient
from tests.server import ISSUER, NO_TLS, ROOT, SECRET, Server, TracedServer, cursor_on, untraced
from tests.signers import ES256

DEPLOY = ROOT / "service" / "deploy"
DURATION = "mstack_auth_request_duration_seconds"
REQUESTS = f"{DURATION}_count"
Series = tuple[str, frozenset[tuple[str, str]]]


def series(port: int) -> dict[Series, float]:
    """A scrape: each series, by its name and labels, and its value."""
    return parsed(httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10, verify=NO_TLS).raise_for_status().text)


def parsed(text: str) -> dict[Series, float]:
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def total(found: dict[Series, float], name: str, **labels: str) -> float:
    """The sum over all series of the name that have these labels."""
    wanted = labels.items()
    return sum(value for (each, its), value in found.items() if each == name and wanted <= dict(its).items())


async def until(port: int, holds: Callable[[dict[Series, float]], bool]) -> dict[Series, float]:
    """Scrapes until what is wanted holds."""
    found: dict[Series, float] = {}
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    found = await asyncio.to_thread(series, port)
                except httpx.TransportError:
                    found = {}
                if found and holds(found):
                    return found
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(found) from None


def workers_of(server: Server) -> list[int]:
    """The processes that answer, without the supervisor and multiprocessing's tracker."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    found = []
    for pid in map(int, children):
        with suppress(OSError):  # it has ended meanwhile
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def listens(pid: int, port: int) -> bool:
    """Whether the process holds the listening socket of a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}
    return any(str(link.readlink()) in sockets for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink())


@pytest.fixture(scope="module")
def lone(mariadb: LocalDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """One process that hardly logs, and the port of its metrics."""
    port = free_port()
    folder = tmp_path_factory.mktemp("lone")
    with TracedServer(mariadb.url, folder, LOG_LEVEL="CRITICAL", METRICS_PORT=str(port)) as server:
        yield server, port


def counted_by(pid: int, folder: Path, status: str) -> float:
    """How many answers with a status a worker has counted."""
    path = folder / f"histogram_{pid}.db"
    values = MmapedDict.read_all_values_from_file(str(path)) if path.exists() else ()  # type: ignore[no-untyped-call]  # it has no types
    return sum(float(value) for key, value, _, _ in values if f'"status": "{status}"' in key and "_bucket" in key)


async def ask_each(server: Server, folder: Path, path: str, status: str, headers: dict[str, str] | None = None) -> int:
    """Requests on a connection each, 50 at least, and until each worker has answered some; how many."""
    workers = {pid: counted_by(pid, folder, status) for pid in workers_of(server)}
    one_each = httpx.Limits(max_keepalive_connections=0)
    sent = 0
    async with server.client(limits=one_each) as client, asyncio.timeout(20):
        while sent < 50 or any(counted_by(pid, folder, status) == before for pid, before in workers.items()):
            answers = await asyncio.gather(*(client.get(path, headers=headers) for _ in range(10)))
            assert {str(answer.status_code) for answer in answers} == {status}
            sent += len(answers)
    return sent


async def test_what_workers_count_adds_up_to_what_was_sent_though_one_is_killed_and_another_takes_its_port(
    mariadb: LocalDatabase, tmp_path: Path
) -> None:
    """Requests that no start-up sends; the one that is killed is the one that served the scrapes."""
    port = free_port()
    folder = tmp_path / "metrics"
    folder.mkdir()
    token = ISSUER.issue_access(user_id="u", username="ada", session_id="s", now=int(time.time()))
    valid = {"Authorization": f"Bearer {token}"}
    settings = {"METRICS_PORT": str(port), "PROMETHEUS_MULTIPROC_DIR": str(folder)}

    def is_exactly(verified: int, missing: int) -> Callable[[dict[Series, float]], bool]:
        def holds(found: dict[Series, float]) -> bool:
            counts = [
                total(found, REQUESTS, method="GET", route="/auth/verify", status="200"),
                total(found, REQUESTS, route="unmatched", status="404"),
            ]
            assert counts[0] <= verified
            assert counts[1] <= missing
            # Of the living alone: what one hash queue and one pool may hold, twice.
            limits = [total(found, f"mstack_auth_{name}_limit") for name in ("hash_queue", "pool_connections")]
            return counts == [verified, missing] and limits == [128, 20]

        return holds

    with TracedServer(mariadb.url, tmp_path, "--workers", "2", **settings) as server:
        verified = await ask_each(server, folder, "/auth/verify", "200", valid)
        missing = await ask_each(server, folder, "/nowhere", "404")
        await until(port, is_exactly(verified, missing))
        before = workers_of(server)
        assert len(before) == 2
        holder = next(pid for pid in before if listens(pid, port))
        os.kill(holder, signal.SIGKILL)
        (folder / "counter_1.db").touch()  # as a worker that starts has it for a moment
        async with asyncio.timeout(20):
            while len(after := workers_of(server)) != 2 or holder in after:
                await asyncio.sleep(0.02)
        await until(port, is_exactly(verified, missing))
        verified += await ask_each(server, folder, "/auth/verify", "200", valid)
        missing += await ask_each(server, folder, "/nowhere", "404")
        await until(port, is_exactly(verified, missing))
    log = server.log.read_text()
    assert "metrics_" not in log
    assert "Traceback" not in log


async def test_hostile_paths_and_methods_make_no_series(lone: tuple[Server, int]) -> None:
    server, port = lone

    preflight = {"Origin": "https://app.example"}

    async def storm(word: str, *methods: str) -> dict[Series, float]:
        async with server.client() as client:
            answers = [
                *[await client.get(f"/{word}/{number}") for number in range(5)],
                *[await client.delete(f"/auth/sessions/{word}-{number}") for number in range(5)],
                *[await client.request(method, "/auth/login") for method in methods],
                *[await client.get(f"/auth/verify?{word}={number}") for number in range(5)],
                await client.request(methods[0], f"/{word}%0a%22%7d"),
                await client.options(f"/{word}", headers={**preflight, "Access-Control-Request-Method": word}),
            ]
        assert {answer.status_code for answer in answers} == {404, 401, 405, 400}
        counted = total(before, REQUESTS) + len(answers)
        return await until(port, lambda found: total(found, REQUESTS) == counted)

    before = await until(port, lambda found: total(found, REQUESTS, status="401") > 0)
    first = before = await storm("first", "PURGE", "MKCOL", "LOCK")
    second = await storm("second", "COPY", "SEARCH", "REPORT")
    assert set(first) == set(second)
    assert "first" not in str(set(first))
    assert total(second, REQUESTS, method="other", route="/auth/login", status="405") == 6
    assert total(second, REQUESTS, method="DELETE", route="/auth/sessions/{id}", status="401") == 10
    assert (await asyncio.to_thread(httpx.get, f"{server.url}/metrics")).status_code == 404, "on the public port"


async def test_events_are_counted_though_the_log_does_not_show_them(
    lone: tuple[Server, int], new_name: Callable[[], str]
) -> None:
    server, port = lone
    credentials = {"username": new_name(), "password": PASSWORD}
    at_start = await until(port, lambda found: total(found, "mstack_auth_ready") == 1)
    assert ("mstack_auth_events_total", frozenset({("event", "refresh_token_reused")})) in at_start
    async with server.client() as client:
        await client.post("/auth/signup", json=credentials)
        for _ in range(3):
            await client.post("/auth/login", json={**credentials, "password": "wrong password"})
        pair = (await client.post("/auth/login", json=credentials)).json()
        first = {"refreshToken": pair["refreshToken"]}
        second = {"refreshToken": (await client.post("/auth/refresh", json=first)).json()["refreshToken"]}
        await client.post("/auth/refresh", json=second)
        assert (await client.post("/auth/refresh", json=first)).status_code == 401
    found = await until(port, lambda found: total(found, REQUESTS, route="/auth/refresh") == 3)
    for event, count in {
        "user_registered": 1,
        "login_failed": 3,
        "login_succeeded": 1,
        "refresh_token_reused": 1,
    }.items():
        assert total(found, "mstack_auth_events_total", event=event) == count
    assert total(found, "mstack_auth_events_total", event="request") == 0
    assert total(found, "mstack_auth_hash_wait_seconds_count") == 5
    assert server.log.read_text() == ""


async def test_the_queues_show_who_waits_and_for_how_long(
    own_mariadb: LocalDatabase, start: StartClient, new_name: Callable[[], str]
) -> None:
    port = free_port()
    bodies = [{"username": new_name(), "password": PASSWORD} for _ in range(5)]
    address = Settings.from_env({"DATABASE_URL": own_mariadb.url, "JWT_SECRET": SECRET}).database
    limits = {"hash_threads": 1, "hash_queue": 9, "bcrypt_rounds": 13, "pool_size": 2, "database_timeout": 2}
    async with start(database=address, metrics_port=port, **limits) as client:
        logins = asyncio.gather(*(client.post("/auth/login", json=body) for body in bodies[:4]))
        seen = await until(port, lambda found: total(found, "mstack_auth_hash_queue_length") > 0)
        assert total(seen, "mstack_auth_hashes_running") == 1
        assert total(seen, "mstack_auth_hash_queue_limit") == 9
        await logins
        found = await until(port, lambda found: total(found, "mstack_auth_hashes_running") == 0)
        assert total(found, "mstack_auth_hash_wait_seconds_count") == 4
        assert total(found, "mstack_auth_hash_wait_seconds_sum") > 0.1
        assert total(found, "mstack_auth_pool_connections_in_use") == 0
        with cursor_on(own_mariadb.url) as cursor:
            cursor.execute("lock tables users write")
            logins = asyncio.gather(*(client.post("/auth/login", json=body) for body in bodies))
            seen = await until(port, lambda found: total(found, "mstack_auth_pool_connections_in_use") == 2)
            assert total(seen, "mstack_auth_pool_connections_limit") == 2
            assert {answer.status_code for answer in await logins} == {503}
        found = await until(port, lambda found: total(found, "mstack_auth_pool_connections_in_use") == 0)
        waited = total(found, "mstack_auth_pool_wait_seconds_sum")
        assert 3 * 1.5 < waited < 3 * 4, "the three who waited in vain, too"


async def test_a_port_that_is_taken_is_told_once_and_asked_for_until_it_is_free(
    start: StartClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(metrics, "RETRY_INTERVAL", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with start(metrics_port=port) as client:
            assert (await client.get("/livez")).status_code == 200
            async with asyncio.timeout(20):
                while "metrics_port_taken" not in caplog.text:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.2)  # other attempts
            other.close()
            found = await until(port, lambda found: total(found, "mstack_auth_ready") == 1)
    assert caplog.text.count("metrics_port_taken") == 1
    assert total(found, "mstack_auth_events_total", event="metrics_port_taken") == 1


async def test_a_host_that_is_not_ours_is_told_once_and_takes_nothing_else_along(
    start: StartClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An address for documentation (RFC 5737), which no machine has."""
    monkeypatch.setattr(metrics, "RETRY_INTERVAL", 0.02)
    async with start(metrics_port=free_port(), metrics_host="203.0.113.1") as client:
        async with asyncio.timeout(20):
            while "metrics_not_served" not in caplog.text:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)  # other attempts
        assert (await client.get("/readyz")).status_code == 200
    assert caplog.text.count("metrics_not_served") == 1


async def test_every_metric_of_the_dashboard_and_the_alerts_exists(lone: tuple[Server, int]) -> None:
    """And every route, label and event that they ask for."""
    server, port = lone
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = (DEPLOY / "alerts.yml").read_text()
    asked = "\n".join([*expressions, dashboard["templating"]["list"][1]["query"], alerts])
    await asyncio.to_thread(httpx.get, f"{server.url}/auth/verify")
    found = await until(port, lambda found: total(found, REQUESTS) > 0)
    named = set(re.findall(r"\bmstack_auth_\w+", asked))
    assert len(named) > 10
    assert named <= {name for name, _ in found}
    events = set(re.findall(r'event=~?"([^"]+)"', asked))
    known = {label for name, labels in found for label in labels}
    assert all(("event", event) in known for each in events for event in each.split("|"))
    for selector in re.findall(r'route[!=]~?"([^"]+)"', asked):
        paths = [selector] if "(" not in selector else re.findall(r"\w+", selector.partition("(")[2])
        for path in paths:
            text = (ROOT / "service" / "web").rglob("*.py")
            assert any(f'{path.split("/")[-1]}"' in module.read_text() for module in text), path


def test_the_rules_are_rules_and_each_alert_says_what_to_do() -> None:
    promtool = shutil.which("promtool")
    assert promtool, "Debian's package prometheus"
    done = subprocess.run(
        [promtool, "check", "rules", DEPLOY / "alerts.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rules = (DEPLOY / "alerts.yml").read_text().split("- alert:")[1:]
    assert f"{len(rules)} rules found" in done.stdout
    for rule in rules:
        assert "severity:" in rule
        assert "summary:" in rule
        assert len(rule.partition("description: >-")[2]) > 100


# Of ten minutes, a sample each half; what holds in the end, of instance "a".
_OUTAGE_OF_THE_LIMITS = {"rate_limit_storage_down": "1x20"}
_HUNG = {"ready": "1x20", "sampled_timestamp_seconds": "0+30x3 90x17"}
_LOGINS_REFUSED = {'request_duration_seconds_count{route="/auth/login",status="503"}': "0+30x20"}
_ROOM, _NO_ROOM = {"hash_queue_length": "0x20"}, {"hash_queue_length": "0x10 64x2 0x8"}
_HASHES = {"hash_queue_limit": "64x20"}


@pytest.mark.parametrize(
    ("alert", "values", "fires"),
    [
        ("MstackAuthLimitsUnshared", _OUTAGE_OF_THE_LIMITS, True),
        ("MstackAuthKeysUnusable", {"keys_unusable": "1x20"}, True),
        ("MstackAuthHung", _HUNG, True),
        ("MstackAuthHung", {"sampled_timestamp_seconds": "0+30x20"}, False),
        ("MstackAuthHashQueueFull", _LOGINS_REFUSED | _ROOM | _HASHES, False),
        ("MstackAuthHashQueueFull", _LOGINS_REFUSED | _NO_ROOM | _HASHES, True),
    ],
)
def test_an_alert_fires_for_its_cause_as_long_as_it_lasts(
    alert: str, values: dict[str, str], *, fires: bool, tmp_path: Path
) -> None:
    """An outage of the database is no reason for cheaper hashes; one of Redis was over for its alert in ten minutes."""
    series = []
    for name, its in values.items():
        metric, _, labels = name.rstrip("}").partition("{")
        labels = ",".join(filter(None, ('instance="a"', labels)))
        series.append({"series": f"mstack_auth_{metric}{{{labels}}}", "values": its})
    # What an alert says, which the rules hold, is not asked for: only whether there is one.
    expected = [{"labels": "{}", "value": 1}] if fires else []
    asked = {"expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})', "eval_time": "10m"}
    test = {"interval": "30s", "input_series": series, "promql_expr_test": [{**asked, "exp_samples": expected}]}
    (tmp_path / "test.yml").write_text(json.dumps({"rule_files": [str(DEPLOY / "alerts.yml")], "tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_event_is_a_literal_so_that_nobody_can_make_series_with_it() -> None:
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log."):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                if name in {"isEnabledFor", "setLevel"}:
                    continue
                message = node.args[1 if name == "log" else 0]
                assert isinstance(message, ast.Constant), ast.unparse(node)
                assert re.fullmatch("[a-z_]+", str(message.value)), ast.unparse(node)


@pytest.mark.parametrize("folder", ["", "/nowhere", "/dev/null"])
def test_a_folder_that_workers_cannot_share_is_refused_by_name_where_there_are_metrics(folder: str) -> None:
    """REQUIREMENTS 5: prometheus_client reads it by itself, and takes empty for a folder."""
    environ = {"DATABASE_URL": "mysql://a:b@c/d", "JWT_SECRET": SECRET, "PROMETHEUS_MULTIPROC_DIR": folder}
    assert Settings.from_env(environ).metrics_port is None
    with pytest.raises(InvalidSetting, match="PROMETHEUS_MULTIPROC_DIR"):
        Settings.from_env({**environ, "METRICS_PORT": "9100"})
    with pytest.raises(InvalidSetting, match="METRICS_PORT"):
        Settings.from_env({**environ, "METRICS_PORT": "65536"})


async def test_a_process_that_never_heard_of_ended_sessions_says_for_how_long(
    settings: Settings, start: StartClient
) -> None:
    """Its age was 0, as where nobody asks, so that no alert came."""
    nowhere = replace(settings.database, port=free_port())
    port = free_port()
    async with start(database=nowhere, metrics_port=port):
        found = await until(port, lambda found: total(found, "mstack_auth_revocation_age_seconds") > 1)
    assert total(found, "mstack_auth_ready") == 0


def test_a_request_is_in_the_bucket_of_its_time() -> None:
    """Verify's, which are noted together, and all others."""

    async def observe() -> None:
        observer.observe_verify(0.3)
        observer.observe("POST", "/auth/login", 200, 0.3)
        await asyncio.sleep(0.1)

    observer = Metrics()
    asyncio.run(observe())
    found = parsed(generate_latest(observer._served).decode())
    for route in ("/auth/verify", "/auth/login"):
        assert total(found, f"{DURATION}_bucket", route=route, le="0.25") == 0
        assert total(found, f"{DURATION}_bucket", route=route, le="0.5") == 1
        assert total(found, f"{DURATION}_sum", route=route) == 0.3


async def test_what_is_sampled_is_what_there_is(start: StartClient, name: str) -> None:
    port = free_port()
    async with start(metrics_port=port) as client:
        pair = (await client.post("/auth/login", json={"username": name, "password": PASSWORD})).json()
        await client.post("/auth/logout", json={"refreshToken": pair["refreshToken"]})
        found = await until(port, lambda found: total(found, "mstack_auth_revoked_sessions") > 0)
    assert abs(total(found, "mstack_auth_sampled_timestamp_seconds") - time.time()) < 60


async def test_a_folder_of_keys_that_turns_unusable_is_sampled(
    start: StartClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keywatch, "POLL", 0.01)
    port, pem = free_port(), tmp_path / "key.pem"
    pem.write_bytes(ES256.pem)
    async with start(metrics_port=port, keys=KeySettings(jwt_algorithm="ES256", jwt_keys=tmp_path)):
        await until(port, lambda found: total(found, "mstack_auth_ready") == 1)
        assert total(series(port), "mstack_auth_keys_unusable") == 0
        pem.write_bytes(ES256.pem[:100])
        await until(port, lambda found: total(found, "mstack_auth_keys_unusable") == 1)


WORKER = """
import sys
from pathlib import Path
from service.metrics import Metrics

Metrics(Path(sys.argv[1])).set({each: float(value) for each, value in (text.split("=") for text in sys.argv[2:])})
print(flush=True)
sys.stdin.read()
"""


def test_a_bad_worker_is_not_hidden_by_a_good_one(tmp_path: Path) -> None:
    """Its revocations are old, it can't use Redis or the keys, and it hangs since long."""
    bad = {"ready": 0, "revocation_age_seconds": 99, "rate_limit_storage_down": 1, "keys_unusable": 1}
    bad |= {"sampled_timestamp_seconds": 1}
    good = {"ready": 1, "revocation_age_seconds": 0, "rate_limit_storage_down": 0, "keys_unusable": 0}
    good |= {"sampled_timestamp_seconds": 1000}
    with ExitStack() as stack:
        for values in (bad, good):
            said = [f"{name}={value}" for name, value in values.items()]
            command = [sys.executable, "-c", WORKER, str(tmp_path), *said]
            env = {**untraced(), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
            worker = stack.enter_context(
                subprocess.Popen(command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            assert worker.stdout
            assert worker.stdout.readline() == b"\n"
        found = parsed(generate_latest(Metrics(tmp_path)._served).decode())
    assert {name: total(found, f"mstack_auth_{name}") for name in bad} == bad
