"""A headless Chromium that a test drives: what a page shows, asks for and complains about.

Owns the browser's process and the conversation with it (Chrome DevTools Protocol over a WebSocket). Judges nothing.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websocket

from tests.fixtures.tools import tool

PATIENCE = 60.0  # seconds; the machine is busy
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync"),
    *("--no-proxy-server", "--mute-audio", "--hide-scrollbars=false", "--remote-debugging-port=0"),
    *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-features=Translate,OptimizationHints"),
)


@dataclass
class Tab:
    """One page. `said`: what its console and its errors said; `asked`: the URLs that it asked for."""

    socket: websocket.WebSocket
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    _number: int = 0

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """A command's result; what happens meanwhile is written down."""
        self._number += 1
        self.socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self._number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.asked.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.said.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                self.said.append(json.dumps(params["args"]))
            case "Log.entryAdded":
                self.said.append(params["entry"]["text"])

    def look(self, url: str, *, width: int = 1200, height: int = 900, dark: bool = False, language: str = "en") -> None:
        """Open an address on a screen of this size, in this theme and language."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.screen(width, height, dark)
        override = f"Object.defineProperty(navigator, 'language', {{get: () => {json.dumps(language)}}})"
        self.call("Page.addScriptToEvaluateOnNewDocument", source=override)
        self.call("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href === {json.dumps(url)}", f"{url} is open")

    def screen(self, width: int, height: int, dark: bool) -> None:
        """Another screen, another theme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])

    def js(self, expression: str) -> Any:
        """The value of an expression; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(json.dumps(found["exceptionDetails"]))
        return found["result"].get("value")

    def until(self, expression: str, what: str, seconds: float = PATIENCE) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.js(expression):
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds:g} s: {what}\n{self.text()}\n{self.said}")
            time.sleep(0.1)

    def text(self) -> str:
        """What a reader sees."""
        return str(self.js("document.body.innerText"))

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """A screenshot, of all of the page or of what the screen shows."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    """A browser with one empty page; skips the test where there is none."""
    program = tool("chromium")
    profile = folder / "profile"
    environ = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    log = (folder / "chromium.log").open("wb")
    process = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=log, stderr=log, env=environ
    )
    try:
        with _tab(profile, process, folder / "chromium.log") as tab:
            yield tab
    finally:
        process.kill()
        process.wait()
        log.close()
        shutil.rmtree(profile, ignore_errors=True)


@contextmanager
def _tab(profile: Path, process: subprocess.Popen[bytes], log: Path) -> Iterator[Tab]:
    end = time.monotonic() + PATIENCE
    port_file = profile / "DevToolsActivePort"
    while not (port_file.exists() and len(port_file.read_text().split()) == 2):
        if process.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"Chromium did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
    port, path = port_file.read_text().split()
    root = Tab(websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=PATIENCE, suppress_origin=True))
    target = root.call("Target.createTarget", url="about:blank")["targetId"]
    page = re.sub(r"browser/.*", f"page/{target}", path)
    tab = Tab(websocket.create_connection(f"ws://127.0.0.1:{port}{page}", timeout=PATIENCE, suppress_origin=True))
    try:
        yield tab
    finally:
        tab.socket.close()
        root.socket.close()
