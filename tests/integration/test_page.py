"""The status page in a real browser: it fills, stays within its own origin, fits a phone, and says what is wrong."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from recorder.observe.events import Events
from recorder.observe.health import Beats
from recorder.observe.http import HttpServer, Pages
from recorder.observe.metrics import Metrics
from recorder.observe.report import (
    ChannelReport,
    EventReport,
    FeedReport,
    GapReport,
    Report,
    SourceReport,
    SpoolReport,
)
from recorder.records import Streams, now_us
from recorder.simulator.faults import Drop, Fault, Handshake, How, Raw, Reject
from recorder.simulator.okx.venue import OkxVenue
from recorder.simulator.oracle import NumberedMarket
from recorder.simulator.server import Simulator, demo_venues
from recorder.simulator.wire import frame
from tests.fault.process import RecorderProcess, config_toml, source_toml, until
from tests.fixtures.server import PgServer
from tests.integration.browser import Tab, browser

# Where screenshots go, for people to look at.
PICTURES = Path(os.environ.get("RECORDER_SCREENSHOTS") or Path(__file__).parents[2] / "build" / "screenshots")
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\u202egnp.exe"
SHOWN = HOSTILE.replace("\u202e", "\ufffd")
SCREENS = [(1200, False), (1200, True), (360, False), (360, True)]


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    """A browser's page."""
    with browser(tmp_path) as found:
        yield found


@pytest.fixture
def okx() -> Iterator[Simulator[Any]]:
    """A venue with a market that moves much: what it sends fills a small spool soon."""
    with Simulator(OkxVenue(NumberedMarket(["BTC-USDT", "ETH-USDT"], now_us(), rate=500.0, depth=5))) as simulator:
        yield simulator


def photograph(tab: Tab, name: str) -> None:
    """On a desk and on a phone, by day and by night: nothing sticks out sideways."""
    for width, dark in SCREENS:
        tab.screen(width, 900 if width > 600 else 740, dark)
        tab.js("new Promise(done => setTimeout(done, 600))")  # transitions
        tab.picture(PICTURES / f"{name}-{width}-{'dark' if dark else 'light'}.png")
        assert tab.js("document.documentElement.scrollWidth") <= width, f"{name} at {width}: scrolls sideways"


def behaved(tab: Tab, port: int) -> None:
    """No error, no word in the console, no request to anybody but the recorder."""
    assert tab.said == []
    assert {urlsplit(url).netloc for url in tab.asked if not url.startswith("data:")} == {f"127.0.0.1:{port}"}
    assert {urlsplit(url).path for url in tab.asked if not url.startswith("data:")} == {"/", "/status"}


def contrasts(tab: Tab) -> list[str]:
    """Texts that stand out from what is behind them by less than 4.5 to 1 (WCAG AA)."""
    found: list[str] = tab.js(
        """(() => {
          const linear = x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
          const light = ([r, g, b]) => .2126 * linear(r / 255) + .7152 * linear(g / 255) + .0722 * linear(b / 255);
          const rgb = text => text.match(/[\\d.]+/g).map(Number);
          const behind = node => {
            for (; node; node = node.parentElement) {
              const found = rgb(getComputedStyle(node).backgroundColor);
              if (found.length < 4 || found[3] > 0) return found;
            }
            return [255, 255, 255];
          };
          const found = [];
          for (const node of document.querySelectorAll("main *, header *, footer *")) {
            if (![...node.childNodes].some(child => child.nodeType === 3 && child.data.trim())) continue;
            const a = light(rgb(getComputedStyle(node).color)), b = light(behind(node));
            const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
            if (ratio < 4.5) found.push(`${node.textContent}: ${ratio.toFixed(2)}`);
          }
          return found;
        })()"""
    )
    return found


# --- a real recorder -------------------------------------------------------------------------------------------------

CHANNELS = {
    "trades": ["BTC-USDT", "ETH-USDT"],
    "books": ["BTC-USDT"],
    "tickers": ["BTC-USDT"],
    "candle1m": ["BTC-USDT"],
}


@pytest.mark.timeout(180)
def test_all_is_well(tmp_path: Path, database: str, okx: Simulator[Any], tab: Tab) -> None:
    """A recorder that records: the verdict is one word, every part is filled, values move by themselves; when the
    process is gone the page says so at once, and how old is what it shows."""
    toml = config_toml(database, source_toml(okx.ws_url, okx.http_url, CHANNELS))
    recorder = RecorderProcess(tmp_path / "recorder", toml)
    recorder.start()
    try:
        until(recorder.ready, 60, recorder.tail())
        tab.look(f"http://127.0.0.1:{recorder.port}/")
        tab.until("document.querySelector('#headline').textContent === 'Recording'", "the verdict")
        tab.until("document.querySelectorAll('.source tbody tr').length === 4", "a line for each channel")
        tab.until("document.querySelector('.source .rate').textContent.match(/[1-9]/) !== null", "a rate")
        tab.until("document.querySelectorAll('.feed .state.ok').length === 2", "both feeds are connected")
        count = "document.querySelector('.source tbody tr:last-child td:nth-child(3)').textContent"
        before = tab.js(count)
        tab.until(f"{count} !== {json.dumps(before)}", "counts move")
        tab.until(
            "document.querySelectorAll('.source svg path:last-child')[0].getAttribute('d').length > 40", "a curve"
        )
        assert tab.js("document.documentElement.lang") == "en"
        photograph(tab, "well")
        for dark in (False, True):
            tab.screen(1200, 900, dark)
            assert contrasts(tab) == []
        behaved(tab, recorder.port)
    finally:
        recorder.kill()
    tab.until("document.querySelector('#headline').textContent === 'The recorder does not answer'", "it is gone", 10)
    tab.until("/ \\d+\\u00a0s old/.test(document.querySelector('#reasons').textContent)", "how old it is")
    photograph(tab, "gone")


@pytest.mark.timeout(240)
def test_all_is_wrong(tmp_path: Path, pg_server: PgServer, okx: Simulator[Any], tab: Tab) -> None:
    """The database stops, a feed is parked, a stream is refused, the connection drops, a venue says hostile words, and
    at last the spool is full: each has its sentence, and nothing a venue said is more than text."""
    with ExitStack() as stack:
        other = stack.enter_context(Simulator(demo_venues()[0][0]))
        other.fault(Handshake(status=401, times=1000))
        okx.fault(Reject(channel="books", symbol="BTC-USDT"))
        sources = [
            source_toml(okx.ws_url, okx.http_url, CHANNELS),
            source_toml(other.ws_url, other.http_url, {"trades": ["SOL-USDT"]}, name="other"),
        ]
        toml = config_toml(pg_server.writer_url, *sources, spool='max_size = "1MiB"\nmin_free = "1MiB"')
        recorder = RecorderProcess(tmp_path / "recorder", toml)
        recorder.start()
        stack.callback(recorder.kill)
        until(lambda: (recorder.metric("recorder_rows_committed_total", table="trades") or 0) > 0, 60, recorder.tail())
        okx.fault(_says({"event": "error", "code": "60012", "msg": HOSTILE, "connId": "a4d3ae55"}))
        okx.fault(Drop(how=How.RST, path="public"))
        until(lambda: (recorder.metric("recorder_gaps_total", source="okx", cause="disconnect") or 0) > 0, 30, "a gap")
        pg_server.stop()
        tab.look(f"http://127.0.0.1:{recorder.port}/")
        headline = "document.querySelector('#headline').textContent"
        tab.until(f"{headline} === 'Received, but not stored'", "the database is away")
        tab.until("document.body.innerText.includes('other/public/0 is parked')", "a feed is parked")
        tab.until("document.body.innerText.includes('refused by the venue')", "a stream is refused")
        text = tab.text()
        assert "no database server listens there" in text
        assert "Not writable" in text
        assert "rejected, open okx books BTC-USDT" in text
        assert "disconnect okx " in text
        assert SHOWN in text
        assert tab.js("document.querySelectorAll('main img, main script').length") == 0
        assert "refused: 60018 okx/public/0" in text
        photograph(tab, "wrong")
        for dark in (False, True):
            tab.screen(1200, 900, dark)
            assert contrasts(tab) == []
        tab.until(f"{headline} === 'Messages are being lost'", "the spool is full", 120)
        tab.until(
            "document.body.innerText.includes('okx/public/0, okx/business/0: the spool has reached spool.max_size')",
            "both feeds in one sentence",
        )
        photograph(tab, "shedding")
        behaved(tab, recorder.port)


def _says(message: dict[str, str]) -> Fault:
    """The venue sends this text on every connection."""
    return Raw(b64=base64.b64encode(frame(json.dumps(message).encode())).decode())


# --- a report that a test writes -------------------------------------------------------------------------------------


class Written:
    """A status that a test writes."""

    def __init__(self, report: Report) -> None:
        self.says = report

    def report(self) -> Report:
        return self.says


@pytest.fixture
def written() -> Iterator[tuple[Written, HttpServer]]:
    """A port that says what the test wants."""
    metrics, beats, status = Metrics(), Beats(), Written(hostile())
    server = HttpServer("127.0.0.1:0", Pages(metrics, status, beats, Events(Streams(), metrics, dict)), beats)
    server.start()
    yield status, server
    server.stop()


def hostile() -> Report:
    """Every string that could come from outside is an attack, every list is as long as it gets, every number large."""
    long = HOSTILE + "x" * 250
    at = "2026-11-26T13:00:00.000000Z"
    return Report(
        version="1",
        instance=HOSTILE,
        now="2026-11-26T14:00:00.000+00:00",
        uptime_seconds=4e7,
        database=f"no database server listens there ({HOSTILE})",
        feeds=tuple(
            FeedReport(
                f"{HOSTILE}/{n}", HOSTILE, connected=n == 1, parked=n == 2, trouble=long, endpoint=long, lag_seconds=9e5
            )
            for n in range(3)
        ),
        sources=(SourceReport(HOSTILE, 9e5, 123456.7, (1.0,) * 60, {HOSTILE: 10**9}, {HOSTILE: 10**9}, 1e9, 10**9),),
        channels=tuple(
            ChannelReport(HOSTILE, f"{HOSTILE}{n}", 10**12, 99999.9, 1e6, silent_streams=1000) for n in range(3)
        ),
        spool=SpoolReport(1 << 40, 1 << 41, 1e6, 12345.0, 1 << 30, 1 << 42, 5 << 30),
        gaps=(GapReport(HOSTILE, HOSTILE, HOSTILE, HOSTILE, at, at, 1e7, 10**15, 1000, 5.0),) * 2,
        open_gaps=(GapReport(HOSTILE, HOSTILE, HOSTILE, "rejected", at, None, 1e7, None, 1, 5.0),),
        events=(EventReport(at, 5.0, HOSTILE, HOSTILE, HOSTILE, HOSTILE, long, 10**6),),
        problems=(HOSTILE,),
        notes=(HOSTILE,),
    )


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
def test_nothing_that_was_said_is_more_than_text(written: tuple[Written, HttpServer], tab: Tab, language: str) -> None:
    """In either language: no element, no handler and no request comes of a symbol, a name or a message; and however
    long they are, nothing is wider than a phone."""
    _, server = written
    tab.look("http://{}:{}/".format(*server.address), language=language)
    tab.until("document.querySelectorAll('.channel, tbody tr').length === 3", "it fills")
    assert tab.js("document.querySelectorAll('main img, main script, main iframe').length") == 0
    assert SHOWN in tab.js("document.querySelector('.source h3').textContent")
    assert tab.js("document.querySelectorAll('#gaps li').length") == 3
    assert tab.js("document.documentElement.lang") == ("zh-CN" if language == "zh-CN" else "en")
    assert ("数据库" in tab.text()) == (language == "zh-CN")
    photograph(tab, f"hostile-{language[:2]}")
    behaved(tab, server.address[1])


def test_it_changes_in_place(written: tuple[Written, HttpServer], tab: Tab) -> None:
    """From bad to good and back the elements stay the same, so that nothing jumps while somebody reads; a server that
    is gone and comes back needs no reload."""
    status, server = written
    good = Report(
        version="1",
        now="2026-11-26T14:00:00.000+00:00",
        uptime_seconds=100.0,
        feeds=(FeedReport("a/0", "a", connected=True, live=True),),
        sources=(SourceReport("a"),),
        channels=(ChannelReport("a", "b"),),
    )
    bad = replace(good, feeds=(FeedReport("a/0", "a", connected=False, trouble="eof"),))
    status.says = good
    tab.look("http://{}:{}/".format(*server.address))
    tab.until("document.querySelector('#headline').textContent === 'Recording'", "good")
    tab.js(
        "window.node = document.querySelector('.feed'); window.height = document.querySelector('#verdict').offsetHeight"
    )
    status.says = bad
    tab.until("document.querySelector('#headline').textContent === 'Not everything is being received'", "bad")
    assert tab.js("node.isConnected && node.innerText.includes('not connected')")
    assert tab.js("document.querySelector('#verdict').offsetHeight === height")
    assert tab.js("document.querySelector('#reasons').innerText") == "a/0 is not connected: eof."
    status.says = good
    tab.until("document.querySelector('#headline').textContent === 'Recording'", "good again")
    assert tab.js("node.isConnected && node.innerText.includes('connected') && !node.innerText.includes('not')")
