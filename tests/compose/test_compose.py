"""docker-compose.yml as a whole: everything comes up, is wired together, wakes somebody, and loses nothing when parts
of it are killed or all of it goes down.

Needs a Docker engine (`make compose-test`). The tests share one stack and may run in any order.
"""

from __future__ import annotations

import time
from itertools import pairwise

import psycopg
import pytest

from tests.compose.stack import LASTING, ONE_SHOT, SYMBOLS, Stack, docker, wait
from tests.fault.ledger import gaps, judge

MIB = 1 << 20
MOST = 3584 * MIB
SPIKE = "RecorderReconnectSpike"

pytestmark = pytest.mark.timeout(900)


# --- what is there ---------------------------------------------------------------------------------------------------


def test_everything_is_well(well: Stack) -> None:
    """Every service is healthy or has ended with 0, and there is none that the test does not know."""
    assert well.unwell() == {}
    assert set(well.box.containers()) == LASTING | ONE_SHOT


@pytest.mark.parametrize(("name", "sources"), [("market", {"okx"}), ("demo", {"sim-okx", "sim-infoway"})])
def test_rows_arrive(well: Stack, name: str, sources: set[str]) -> None:
    """The recorder's rows arrive in `market`, the demo's in `demo` under names of their own, neither in the other."""
    fresh = "SELECT DISTINCT source FROM trades WHERE received_at > now() - interval '10 s'"
    wait(lambda: {row[0] for row in well.ask(fresh, name=name)} == sources, 60, f"fresh rows in {name}")
    assert {row[0] for row in well.ask("SELECT DISTINCT source FROM trades", name=name)} == sources


def test_prometheus_scrapes_both_recorders(well: Stack) -> None:
    """Both targets are up, every rule is healthy, and Alertmanager is known."""

    def up() -> dict[str, str]:
        found = well.box.get("prometheus", 9090, "/api/v1/targets?state=active") or {"data": {"activeTargets": []}}
        return {each["labels"]["job"]: each["health"] for each in found["data"]["activeTargets"]}

    wait(lambda: {"recorder", "recorder-demo"} <= {j for j, h in up().items() if h == "up"}, 90, f"targets: {up()}")
    assert set(up().values()) == {"up"}
    groups = well.box.get("prometheus", 9090, "/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert rules
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}, [r for r in rules if r["health"] == "err"]
    assert well.box.get("prometheus", 9090, "/api/v1/alertmanagers")["data"]["activeAlertmanagers"]


def test_grafana_answers(well: Stack) -> None:
    """Grafana is healthy on the port that is published."""
    assert well.box.get("grafana", 3000, "/api/health")["database"] == "ok"


# --- what is not there -----------------------------------------------------------------------------------------------


def test_only_three_ports_are_published(well: Stack) -> None:
    """Grafana, Prometheus and the recorder's page; the last two on loopback, always. (5432 is this test's own.)"""
    found = {
        service: {f"{binding['HostIp']}:{inside}" for inside, bindings in ports.items() for binding in bindings or ()}
        for service, container in well.box.containers().items()
        if (ports := container["NetworkSettings"]["Ports"])
    }
    assert {service: ports for service, ports in found.items() if ports} == {
        "database": {"127.0.0.1:5432/tcp"},
        "grafana": {"127.0.0.1:3000/tcp"},
        "prometheus": {"127.0.0.1:9090/tcp"},
        "recorder": {"127.0.0.1:9464/tcp"},
    }


def test_containers_can_do_little(well: Stack) -> None:
    """Recorders run as a user without a name, without capabilities, on a file system that nobody writes to."""
    for service in ("recorder", "demo-recorder", "relay", "venues"):
        container = well.box.containers()[service]
        assert container["Config"]["User"] == "10001:10001", service
        assert container["HostConfig"]["ReadonlyRootfs"] is True, service
        assert container["HostConfig"]["CapDrop"] == ["ALL"], service
    run = well.box.compose("exec", "--no-TTY", "recorder", "sh", "-c", "touch /app/x", check=False)
    assert "Read-only file system" in run.stderr


def test_nothing_that_builds_is_in_the_image(well: Stack) -> None:
    """Neither pip nor ensurepip, no compiler, no linker, no make, no git."""
    tools = "pip pip3 cc gcc c++ g++ ld make git"
    command = f"command -v {tools}; python -c 'import pip' || python -c 'import ensurepip' || echo clean"
    run = well.box.compose("exec", "--no-TTY", "recorder", "sh", "-c", command)
    assert run.stdout.strip() == "clean"


def test_logs_are_rotated(well: Stack) -> None:
    """No container's log grows without end."""
    for service, container in well.box.containers().items():
        assert container["HostConfig"]["LogConfig"]["Config"] == {"max-file": "5", "max-size": "20m"}, service


def test_the_owners_password_is_with_those_who_need_it(well: Stack) -> None:
    """Whoever only reads or writes rows never sees the password of the database's owner, nor Grafana the writer's."""
    told = {
        name: {service for service, found in well.box.containers().items() if _knows(found, well.passwords[name])}
        for name in ("postgres", "recorder", "grafana")
    }
    assert told["postgres"] == {"database", "users", "migrate", "demo-database", "demo-migrate"}
    assert told["recorder"] == {"users", "recorder", "demo-recorder"}
    assert told["grafana"] == {"users", "grafana"}


def _knows(container: dict[str, dict[str, list[str]]], password: str) -> bool:
    return any(password == entry.partition("=")[2] for entry in container["Config"]["Env"])


def test_every_user_can_do_his_work_and_no_more(well: Stack) -> None:
    """The recorder writes rows and drops nothing; Grafana reads and changes nothing."""
    with psycopg.connect(well.database("grafana"), autocommit=True) as conn:
        assert conn.execute("SELECT count(*) FROM trades").fetchone() is not None
        for statement in ("DELETE FROM trades", "CREATE TABLE x (y int)", "DROP TABLE trades"):
            with pytest.raises(psycopg.errors.Error):
                conn.execute(statement)
    with psycopg.connect(well.database("recorder"), autocommit=True) as conn:
        for refused in ("DROP TABLE trades", "TRUNCATE trades", "CREATE TABLE x (y int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(refused)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_the_stack_fits_a_server_of_4_gb(well: Stack) -> None:
    """All limits together, the demo's and those of what runs once included, are at most 3.5 GiB; what is used is less,
    and nothing was killed for want of memory."""
    containers = well.box.containers()
    limits = {service: container["HostConfig"]["Memory"] for service, container in containers.items()}
    assert all(limits.values()), limits
    assert sum(limits.values()) <= MOST, {service: limit // MIB for service, limit in limits.items()}
    assert not [service for service, container in containers.items() if container["State"]["OOMKilled"]]
    used = _used([container["Id"] for container in containers.values() if container["State"]["Running"]])
    print(f"limits {sum(limits.values()) // MIB} MiB, in use {used / MIB:.0f} MiB")
    assert used <= MOST


def _used(ids: list[str]) -> float:
    """Bytes that these containers use now."""
    units = {"B": 1, "KiB": 1 << 10, "MiB": MIB, "GiB": 1 << 30}
    total = 0.0
    for line in docker(["docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", *ids]).stdout.splitlines():
        text = line.partition("/")[0].strip()
        number = text.rstrip("BKMGi")
        total += float(number) * units[text[len(number) :]]
    return total


# --- somebody is woken -----------------------------------------------------------------------------------------------


def test_a_reconnect_storm_is_one_alert(well: Stack) -> None:
    """Twenty connections that are dropped at once, again and again, reach the webhook as one alert in one message."""
    before = len(well.messages())
    dropped = 0
    while dropped < 5 * len(SYMBOLS):  # three of each within the window are still none of our business
        dropped += well.control(fault="drop", how="rst")
        time.sleep(0.5)
    wait(lambda: bool(_spikes(well, before)), 120, f"the webhook is called\n{well.box.logs('relay')}")
    well.all_connected()
    wait(lambda: not _firing(well), 120, "the alert is over")
    assert [spike["labels"]["source"] for spike in _spikes(well, before)] == ["okx"]


def _spikes(stack: Stack, before: int) -> list[dict[str, dict[str, str]]]:
    alerts = [alert for message in stack.messages()[before:] for alert in message["alerts"]]
    return [alert for alert in alerts if alert["labels"]["alertname"] == SPIKE and alert["status"] == "firing"]


def _firing(stack: Stack) -> bool:
    alerts = (stack.box.get("prometheus", 9090, "/api/v1/alerts") or {"data": {"alerts": []}})["data"]["alerts"]
    return any(alert["labels"]["alertname"] == SPIKE and alert["state"] == "firing" for alert in alerts)


# --- nothing is lost -------------------------------------------------------------------------------------------------


def test_down_and_up_keep_everything(well: Stack) -> None:
    """What was stored before `down` is there after `up`, and what came meanwhile is a gap of known size."""
    well.caught_up()
    before = well.stored()
    well.box.compose("down")
    well.up()
    well.all_connected()
    _settled(well)
    assert all(number > before[symbol] for symbol, number in well.stored().items())


def test_a_killed_recorder_loses_nothing(well: Stack) -> None:
    """kill -9 of the recorder's container, and its start: every number is stored once or named in one gap."""
    well.caught_up()
    _kill(well, "recorder")
    _settled(well)


def test_a_killed_database_loses_nothing(well: Stack) -> None:
    """kill -9 of the database's container, and its start: no gap at all comes from it."""
    well.caught_up()
    holes = _holes(well)
    _kill(well, "database", away=5.0)
    assert _settled(well) == holes


def _kill(stack: Stack, service: str, away: float = 0.0) -> None:
    """docker kill, some seconds without it, docker start."""
    identity = stack.box.containers()[service]["Id"]
    assert docker(["docker", "kill", "--signal", "KILL", identity]).returncode == 0
    time.sleep(away)
    assert docker(["docker", "start", identity]).returncode == 0
    stack.well()
    stack.all_connected()


def _settled(stack: Stack) -> int:
    """Wait until the present is stored, stop the recorder, and judge every symbol by the venue's ledger. How many holes
    there were until then; the recorder runs again."""
    stack.caught_up()
    time.sleep(2.5)  # the grace of missing ids, in the recorder's own time
    stack.box.compose("stop", "recorder")
    ledger = stack.ledger()
    holes = 0
    for symbol in SYMBOLS:
        finding = judge(stack.database(), symbol, ledger.issued[symbol])
        lines = sorted((c for c in ledger.connections.values() if symbol in c.sent), key=lambda c: c.opened)
        down = sum(max(0, later.opened - (earlier.closed or later.opened)) for earlier, later in pairwise(lines)) / 1e6
        assert {gap.cause for gap in finding.gaps} <= {"recorder_down", "disconnect"}
        assert finding.gap_seconds <= down + len(lines), (symbol, finding.gap_seconds, down)
        holes += len(finding.gaps)
    stack.up()
    return holes


def _holes(stack: Stack) -> int:
    with psycopg.connect(stack.database()) as conn:
        return sum(len(gaps(conn, symbol)) for symbol in SYMBOLS)
