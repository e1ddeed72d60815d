"""python-okx's public client as its users use it: prints every message with the number of the connection it came on.

Runs in an environment of its own (tests/foreign.py). First argument: JSON {"url", "paths": {path: [arguments]}}. The
library neither reconnects nor minds notices, so its user does: after an end it dials again, on a notice 64008 it dials
and subscribes anew before the old connection ends. Ends with standard input.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from typing import Any

from okx.websocket.WsPublicAsync import WsPublicAsync

connections = itertools.count()


async def follow(url: str, args: list[dict[str, str]]) -> None:
    """Keep a connection to a path."""
    number = next(connections)
    client = WsPublicAsync(url)
    replaced = False

    def heard(text: str) -> None:
        nonlocal replaced
        message = {"event": "pong"} if text == "pong" else json.loads(text)
        print(json.dumps({"connection": number, "message": message}), flush=True)
        if message.get("code") == "64008":
            replaced = True
            begin(follow(url, args))

    reading = await client.start()
    await client.subscribe(args, heard)
    await asyncio.wait([reading])
    reading.exception()
    print(json.dumps({"connection": number, "ended": True}), flush=True)
    if not replaced:
        await asyncio.sleep(0.5)
        begin(follow(url, args))


tasks: set[asyncio.Task[None]] = set()


def begin(work: Any) -> None:
    """Let something go on by itself."""
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def main(order: dict[str, Any]) -> None:
    """Until standard input ends."""
    for path, args in order["paths"].items():
        begin(follow(order["url"] + path, args))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
