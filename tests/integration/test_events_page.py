"""docs/events.md: its command and its script do with a real recorder what the page says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.observe.events import BUFFER, LISTENERS
from recorder.observe.stream import HEARTBEAT
from recorder.records import TABLES, now_us
from recorder.simulator.okx.venue import OkxVenue
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator
from tests.fault.process import RecorderProcess, okx_toml, until
from tests.integration.browser import browser

TEXT = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
DEFAULT = "http://127.0.0.1:9464"


def example(language: str) -> str:
    """The one block in this language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return str(found)


@pytest.fixture
def recorder(tmp_path: Path, database: str) -> Iterator[RecorderProcess]:
    """One that records both symbols of the examples."""
    symbols = ["BTC-USDT", "ETH-USDT"]
    with Simulator(OkxVenue(NumberedMarket(symbols, now_us(), rate=50.0, depth=5))) as simulator:
        toml = okx_toml(database, simulator.ws_url, simulator.http_url, {"trades": symbols})
        made = RecorderProcess(tmp_path / "recorder", toml)
        made.start()
        try:
            until(lambda: all(feed["live"] for feed in made.status().get("feeds", [{"live": False}])), 60, made.tail())
            yield made
        finally:
            made.kill()


def test_the_command(recorder: RecorderProcess) -> None:
    """It prints events of both symbols, each in the form that the page shows."""
    program, *arguments = shlex.split(example("sh"))
    if shutil.which(program) is None:
        pytest.skip("there is no curl on this machine")
    assert arguments[-1].startswith(DEFAULT)
    url = arguments[-1].replace(DEFAULT, f"http://127.0.0.1:{recorder.port}")
    with subprocess.Popen([program, "-sN", "--noproxy", "*", url], stdout=subprocess.PIPE, text=True) as curl:
        assert curl.stdout is not None
        lines = [next(curl.stdout) for _ in range(400)]
        curl.kill()
    found = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert {each["symbol"] for each in found} == {"BTC-USDT", "ETH-USDT"}
    (shown,) = re.findall(r"(?m)^data: (.*)$", TEXT)
    assert {tuple(each) for each in found} == {tuple(json.loads(shown))} == {TABLES["trades"].columns}
    assert {type(value) for each in found for value in each.values()} == {str, type(None)}


def test_the_script(recorder: RecorderProcess, tmp_path: Path) -> None:
    """Ten lines, and a page shows the price as it moves."""
    script = example("js")
    assert len(script.splitlines()) <= 10
    with browser(tmp_path) as tab:
        tab.look(f"http://127.0.0.1:{recorder.port}/healthz")
        tab.js("document.body.innerHTML = '<p id=price></p>'")
        tab.call("Runtime.evaluate", expression=script)
        tab.until("/^BTC-USDT 10\\d\\d\\.\\d\\d$/.test(price.textContent)", "a price")
        before = tab.js("price.textContent")
        tab.until(f"price.textContent !== {json.dumps(before)}", "it moves")
        recorder.kill()
        recorder.start()
        before = tab.js("price.textContent")
        tab.until(f"price.textContent !== {json.dumps(before)}", "it moves again after a restart")


def test_the_figures() -> None:
    """Sizes and times on the page are those of the code."""
    assert f"a buffer of {BUFFER >> 20} MiB" in TEXT
    assert f"after {HEARTBEAT:.0f} s" in TEXT
    assert (re.findall(r"(\w+) may listen", TEXT), LISTENERS) == (["Eight"], 8)
