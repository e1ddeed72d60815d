"""Alertmanager's shipped configuration: checked by amtool, and run with the relay and messengers behind it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.fixtures.tools import tool
from tests.integration.alertmanager import SHIPPED, alertmanager, eventually
from tests.integration.messengers import Arrived, Messengers
from tests.integration.relaying import relaying

ROBOTS = ("webhook", "telegram", "dingtalk", "feishu", "wecom")


def amtool(*arguments: str) -> str:
    """What amtool says."""
    done = subprocess.run([tool("amtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def critical(name: str, **labels: str) -> dict[str, str]:
    """An alert that is told at once."""
    return {"alertname": name, "severity": "critical", **labels}


def alerts(one: Arrived) -> list[tuple[str, str]]:
    """What a webhook was told: name and status of each alert."""
    return [(alert["labels"]["alertname"], alert["status"]) for alert in json.loads(one.body)["alerts"]]


def test_amtool_finds_nothing_wrong() -> None:
    """`amtool check-config` is content: two receivers, all inhibitions, no template."""
    said = amtool("check-config", str(SHIPPED))
    assert "SUCCESS" in said
    assert "2 receivers" in said


@pytest.mark.parametrize(
    ("severity", "receiver"),
    [("critical", "everyone"), ("warning", "everyone"), ("info", "quiet"), ("unheard-of", "everyone")],
)
def test_routes(severity: str, receiver: str) -> None:
    """Critical and warning reach every messenger, info no phone; what nobody foresaw is not lost."""
    labels = ("alertname=RecorderLag", f"severity={severity}", "job=recorder")
    said = amtool("config", "routes", "test", f"--config.file={SHIPPED}", f"--verify.receivers={receiver}", *labels)
    assert said.strip().endswith(receiver)


def test_how_often() -> None:
    """Critical within seconds and again every hour; the rest in groups, again every twelve hours or once a day."""
    text = SHIPPED.read_text()
    found = {
        key: re.findall(rf"^\s*{key}: (\S+)", text, re.MULTILINE)
        for key in ("group_wait", "group_interval", "repeat_interval")
    }
    assert found["group_wait"] == ["1m", "10s", "10m"]
    assert found["group_interval"] == ["10m", "1m", "24h"]
    assert found["repeat_interval"] == ["12h", "1h", "23h"]


def test_each_messenger_is_tried_by_itself() -> None:
    """The receiver of all has one webhook per messenger, each telling what is over; info knows two of them."""
    everyone, quiet = SHIPPED.read_text().partition("receivers:")[2].split("- name: ")[1:]
    path = re.compile(r"http://relay:9465/(\w+)', send_resolved: true")
    assert path.findall(everyone) == ["webhook", "email", "telegram", "dingtalk", "feishu", "wecom"]
    assert path.findall(quiet) == ["webhook", "email"]


def test_a_pair_arrives_once_and_its_end_too(tmp_path: Path) -> None:
    """Two feeds without data are one message at every messenger, and when both are over, so is one more."""
    pair = [critical("RecorderFeedWithoutData", source=source) for source in ("okx", "sim")]
    with (
        Messengers() as messengers,
        relaying(messengers.environ()) as relay,
        alertmanager(tmp_path, relay.port) as manager,
    ):
        manager.fire(*pair)
        for name in ROBOTS:
            messengers.wait(name)
        manager.fire(*pair, over=True)
        for name in ROBOTS:
            first, second = messengers.wait(name, 2)
            assert (first.answer[0], second.answer[0]) == (200, 200)
            assert name == "webhook" or "2 firing" in first.text
            assert name == "webhook" or "2 resolved" in second.text
        told = [alerts(one) for one in messengers.of("webhook")]
    assert told == [[("RecorderFeedWithoutData", status)] * 2 for status in ("firing", "resolved")]


def test_what_follows_is_silent(tmp_path: Path) -> None:
    """With the database down lag and no progress are not told, a growing spool is; an absent recorder silences all of
    itself and nothing of another; a source without data, or one that is refused, its reconnects, but not those of
    another source."""
    down = [critical(name) for name in ("RecorderDatabaseDown", "RecorderLag", "RecorderNoProgress")]
    gone = [critical(name, instance="b:9464") for name in ("RecorderAbsent", "RecorderDiskLow")]
    okx = {"source": "okx", "instance": "c:9464"}
    parked = [
        critical(name, **okx) for name in ("RecorderFeedParked", "RecorderSilentStreams", "RecorderReconnectSpike")
    ]
    sim = [critical(name, **okx | {"source": "sim"}) for name in ("RecorderFeedWithoutData", "RecorderReconnectSpike")]
    spike = critical("RecorderReconnectSpike", **okx | {"source": "other"})
    with (
        Messengers() as messengers,
        relaying(messengers.environ()) as relay,
        alertmanager(tmp_path, relay.port) as manager,
    ):
        # Causes first: the wait of a group is two seconds here, and the inhibitor of a busy machine may be later.
        others = [*down[1:], gone[1], *parked[1:], sim[1]]
        manager.fire(down[0], gone[0], parked[0], sim[0], critical("RecorderSpoolGrowing"), spike)
        eventually(lambda: len(told(messengers)) >= 6)
        manager.fire(*others)
        eventually(lambda: len(manager.silenced_by_another()) >= len(others))
        silent = manager.silenced_by_another()
        # A later group is told after all earlier ones had their turn.
        manager.fire(critical("RecorderShedding", instance="d:9464"))
        eventually(lambda: "RecorderShedding" in told(messengers))
    quiet = {"RecorderLag", "RecorderNoProgress", "RecorderDiskLow"}
    spikes = {f"RecorderReconnectSpike {source}" for source in ("okx", "sim")}
    assert silent == quiet | {"RecorderSilentStreams okx"} | spikes
    assert told(messengers) == {
        *("RecorderDatabaseDown", "RecorderSpoolGrowing", "RecorderAbsent"),
        *("RecorderFeedParked", "RecorderFeedWithoutData", "RecorderReconnectSpike", "RecorderShedding"),
    }


def told(messengers: Messengers) -> set[str]:
    """The names that a webhook heard."""
    return {name for one in messengers.of("webhook") for name, _ in alerts(one)}


def test_only_what_may_pass_is_tried_again(tmp_path: Path) -> None:
    """A busy messenger is tried until it takes the message, one that refuses is asked once, as are the others."""
    busy = (200, {"errcode": -1, "errmsg": "system busy"})
    with Messengers() as messengers, relaying(messengers.environ() | {"ALERT_FEISHU_SECRET": "another"}) as relay:
        messengers.instead["dingtalk"] = [busy, (502, "<html>"), busy]
        with alertmanager(tmp_path, relay.port, group_interval="1h") as manager:
            manager.fire(critical("RecorderShedding"))
            attempts = messengers.wait("dingtalk", 4)
            eventually(lambda: manager.metric("alertmanager_notifications_failed_total") >= 1)
            manager.fire(critical("RecorderDatabaseDown"))
            for name in ROBOTS:
                messengers.wait(name, 5 if name == "dingtalk" else 2)
            eventually(lambda: manager.metric("alertmanager_notifications_failed_total") == 2)
        assert [one.answer[1].get("errcode") for one in attempts] == [-1, None, -1, 0]
        assert {one.body for one in attempts} == {attempts[0].body}
        assert {name: len(messengers.of(name)) for name in ROBOTS} == dict.fromkeys(ROBOTS, 2) | {"dingtalk": 5}
        assert {one.answer[1]["code"] for one in messengers.of("feishu")} == {19021}
