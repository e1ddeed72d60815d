"""The configuration that is in effect, defaults filled in and secrets masked: as plain values and as TOML.

Owns the way back from the tree to the file's keys. Never shows a secret: what is one is masked here, and the whole
text passes the redaction as well.
"""

from __future__ import annotations

import json

from recorder.config import Config, Secret, Source
from recorder.redact import MASK, redact
from recorder.settings.units import show_duration, show_size

Value = str | int | bool | list[str] | dict[str, int]
Section = dict[str, Value]


def sections(config: Config) -> dict[str, Section]:
    """Every section but the sources, as the file would say it."""
    r, d, s = config.recorder, config.database, config.spool
    found: dict[str, Section] = {
        "recorder": {"data_dir": str(r.data_dir), "instance": r.instance, "listen": r.listen},
        "database": {"flush_age": show_duration(d.flush_age), "flush_rows": d.flush_rows},
        "spool": {
            "max_size": show_size(s.max_size),
            "min_free": show_size(s.min_free),
            "sync": show_duration(s.sync),
            "keep": show_duration(s.keep),
            "priority": list(s.priority),
        },
        "books": {"snapshot_every": show_duration(config.books.snapshot_every)},
        "refill": {"enabled": config.refill.enabled},
        "compression": {"after": show_duration(config.compression.after)},
        "retention": {table: show_duration(seconds) for table, seconds in config.retention.items()},
    }
    if d.url is not None:
        found["database"] = {"url": redact(d.url), **found["database"]}
    return found


def source_section(source: Source) -> Section:
    """One source without its subscriptions."""
    found: Section = {
        "name": source.name,
        "venue": source.venue,
        "endpoints": list(source.endpoints),
        **({"rest": source.rest} if source.rest else {}),
        "connections": source.connections,
        "coalesce": show_duration(source.coalesce),
        "refill": source.refill,
    }
    if source.proxy is not None:
        found["proxy"] = redact(source.proxy)
    if source.sessions:
        found["sessions"] = source.sessions
    if source.limits:
        found["limits"] = dict(source.limits)
    found |= {key: MASK if isinstance(value, Secret) else value for key, value in source.options.items()}
    return found


def as_dict(config: Config) -> dict[str, object]:
    """The whole configuration as plain values."""
    found: dict[str, object] = dict(sections(config))
    found["source"] = [
        source_section(source)
        | {"subscribe": [{"channels": list(b.channels), "symbols": list(b.symbols)} for b in source.subscribe]}
        for source in config.sources
    ]
    return found


def effective(config: Config) -> str:
    """The whole configuration as TOML; what is left out is said in a comment."""
    lines: list[str] = []
    for name, section in sections(config).items():
        lines += [f"[{name}]", *_keys(section)]
        if name == "database" and "url" not in section:
            lines.append("# no url: a local database under data_dir")
        lines.append("")
    for source in config.sources:
        lines += ["[[source]]", *_keys(source_section(source)), ""]
        for block in source.subscribe:
            keys: Section = {"channels": list(block.channels), "symbols": list(block.symbols)}
            lines += ["[[source.subscribe]]", *_keys({k: v for k, v in keys.items() if v}), ""]
    return redact("\n".join(lines))


def _keys(section: Section) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in section.items()]


def _toml(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}"
    # A JSON string is a TOML string, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
