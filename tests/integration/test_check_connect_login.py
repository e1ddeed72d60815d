"""`recorder check --connect` where a connection logs in, and where a venue has no REST interface."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recorder import cli
from recorder.simulator.okex_v1.venue import usual as okex_v1
from recorder.simulator.okex_v3.venue import usual as okex_v3
from recorder.simulator.server import Simulator, TickingVenue

V1 = ("okex_v1", '["ok_sub_spot_etc_usdt_ticker"]', "")
V3 = ("okex_v3", '["spot/trade"]', 'symbols = ["BTC-USDT"]')
ACCOUNT = {"api_key": "demo", "secret_key": "demo-secret"}
VENUES: dict[str, Callable[[float], TickingVenue]] = {"okex_v1": okex_v1, "okex_v3": okex_v3}


def checks(folder: Path, database: str, about: tuple[str, str, str], **account: str) -> dict[str, dict[str, Any]]:
    """Every check of the command, by name."""
    venue, channels, symbols = about
    with Simulator[TickingVenue](VENUES[venue](50.0)) as simulator:
        options = "\n".join(f'{name} = "{value}"' for name, value in account.items())
        (folder / "recorder.toml").write_text(f"""
[recorder]
data_dir = "{folder / "data"}"
[database]
url = "{database}"
[spool]
min_free = "1MiB"
max_size = "64MiB"
[[source]]
venue = "{venue}"
endpoints = ["{simulator.ws_url}"]
{options}
[[source.subscribe]]
channels = {channels}
{symbols}
""")
        command = ["--config", str(folder / "recorder.toml"), "check", "--connect", "--json"]
        said = CliRunner().invoke(cli.app, command).output
    assert not any(account[name] in said for name in ("secret_key", "passphrase") if name in account)
    found = json.loads(said)
    return {each["check"]: each for each in found["checks"]}


@pytest.mark.parametrize(
    ("about", "account", "code"),
    [
        (V1, ACCOUNT, ""),
        (V1, {}, ""),
        (V1, {**ACCOUNT, "secret_key": "an0ther"}, "10017"),
        (V3, {**ACCOUNT, "passphrase": "demo-passphrase"}, ""),
        (V3, {**ACCOUNT, "passphrase": "an0ther"}, "30015"),
    ],
)
def test_a_login_is_tried(
    tmp_path: Path, database: str, about: tuple[str, str, str], account: dict[str, str], code: str
) -> None:
    """Before the subscription, as `run` does; a refusal says its code. What is asked for nothing is not looked at."""
    found = checks(tmp_path, database, about, **account)
    assert found["subscription"]["ok"] is (code == "")
    assert f"the venue refuses with {code}" in found["subscription"]["sentence"] or not code
    assert [name for name, each in found.items() if each["ok"] is False] == (["subscription"] if code else [])
