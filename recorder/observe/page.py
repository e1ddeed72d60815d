"""The status page: one file, `page.html`, that shows in a browser what /status says.

Owns the file and what a browser may do with it: run the script and the style that are in it, ask the port it came from,
and nothing else. Whatever a venue said reaches the page as text only.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

_INLINE = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)


@cache
def html() -> bytes:
    """The page."""
    return files("recorder.observe").joinpath("page.html").read_bytes()


@cache
def policy() -> str:
    """Its Content-Security-Policy: by hash, so that nothing can be slipped in."""
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in _INLINE.findall(html()):
        digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
        hashes[kind.decode()].append(f"'sha256-{digest}'")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(hashes['script'])}",
            f"style-src {' '.join(hashes['style'])}",
            *("connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
        )
    )
