"""Whoever is woken: keeps every message that is posted to it, and gives them all back when asked.

Owns nothing but the list. Runs in a container of its own, with nothing but Python.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MESSAGES: list[object] = []


class Receiver(BaseHTTPRequestHandler):
    """POST anywhere: keep it. GET anywhere: all of them, in order."""

    def do_POST(self) -> None:
        """A message."""
        MESSAGES.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(b"{}")

    def do_GET(self) -> None:
        """All messages."""
        self._answer(json.dumps(MESSAGES).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 8000), Receiver).serve_forever()
