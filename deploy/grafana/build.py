"""Writes the dashboards' JSON from what stands beside it: `make dashboards`.

Owns the files in `dashboards/`. Never looks at a running Grafana.
"""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana import market, quality, recorder

FOLDER = Path(__file__).parent / "dashboards"


def built() -> dict[str, str]:
    """The text of every file by its name."""
    boards = {"recorder": recorder.build(), "market": market.build(), "quality": quality.build()}
    return {
        f"{name}.json": json.dumps(b, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"
        for name, b in boards.items()
    }


if __name__ == "__main__":
    for name, text in built().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
