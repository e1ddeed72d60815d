"""The dashboard *Recorder*: whether it works, and where it is stuck if it does not.

Owns the questions and their order: the verdict first, then the way of a message from the venue to the database.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import statetimeline
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana import panels as p
from deploy.grafana.panels import Section, metric

OURS = '{job="$job"}'
BY = '{job="$job", source=~"$source"}'
UNPLANNED = '{job="$job", source=~"$source", reason!~"handover|line|config"}'


def rate(name: str, by: str, where: str = BY) -> str:
    """Events a second, summed by labels."""
    return f"sum by ({by}) (rate({name}{where}[$__rate_interval]))"


def count(name: str, by: str, where: str = BY) -> str:
    """Events in each interval, only where there are any."""
    return f"sum by ({by}) (increase({name}{where}[$__interval])) > 0"


def quantile(share: float, name: str, by: str = "", where: str = OURS) -> str:
    """A quantile of a histogram."""
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({grouped}) (rate({name}_bucket{where}[$__rate_interval])))"


def verdict() -> Section:
    """Green means that everything received is stored."""
    up = metric(f"min(up{OURS})", now=True)
    database = metric(f"min(recorder_database_up{OURS})", now=True)
    down = metric(f"count(recorder_connected{BY} == 0) or 0 * count(recorder_connected{BY})", now=True)
    age = metric(f"max(recorder_committed_age_seconds{OURS})", now=True)
    lag = metric(f"max(recorder_lag_seconds{BY})", now=True)
    spool = metric(f"sum(recorder_spool_bytes{OURS}) / max(recorder_spool_max_bytes{OURS})", now=True)
    gaps = metric(f"sum(increase(recorder_gaps_total{BY}[$__range]))", now=True)
    flow = metric(f"sum(rate(recorder_messages_received_total{BY}[$__rate_interval]))", now=True)
    bad = p.steps((1, p.GOOD), base=p.BAD)
    running = p.number("Recorder", "Whether Prometheus reaches every recorder.", up, "none", bad)
    stored = p.number(
        "Database", "Whether the database can be written. Feeds spool while it cannot.", database, "none", bad
    )
    missing = p.steps((1, p.BAD))
    return Section(
        "Does it work?",
        [
            (3, 4, running.mappings(p.words(_0=("down", p.BAD), _1=("up", p.GOOD)))),
            (3, 4, stored.mappings(p.words(_0=("down", p.BAD), _1=("up", p.GOOD)))),
            (3, 4, p.number("Feeds down", "Connections that should stand and do not.", down, "none", missing)),
            (
                3,
                4,
                p.number(
                    "Last commit", "Time since anything was committed.", age, "s", p.steps((10, p.WORRY), (60, p.BAD))
                ),
            ),
            (
                3,
                4,
                p.number(
                    "Lag", "Age of the oldest record not yet committed.", lag, "s", p.steps((5, p.WORRY), (60, p.BAD))
                ),
            ),
            (
                3,
                4,
                p.number(
                    "Spool used",
                    "Share of the spool's limit; at 100 % messages are shed.",
                    spool,
                    "percentunit",
                    p.steps((0.5, p.WORRY), (0.8, p.BAD)),
                ),
            ),
            (
                3,
                4,
                p.number(
                    "Gaps",
                    "Holes found in the range shown; the dashboard Data quality has every one.",
                    gaps,
                    "short",
                    p.steps((0.5, p.WORRY)),
                ).decimals(0),
            ),
            (
                3,
                4,
                p.number(
                    "Messages", "Data messages a second, all sources chosen.", flow, "cps", p.steps(base=p.CALM)
                ).decimals(0),
            ),
        ],
    )


def flow() -> Section:
    """From the venue to the database."""
    received = metric(rate("recorder_messages_received_total", "source, channel"), "{{source}} {{channel}}")
    stored = metric(rate("recorder_rows_committed_total", "table", OURS) + " > 0", "{{table}}")
    heard = metric(f"max by (source, channel) (recorder_last_message_age_seconds{BY})", "{{source}} {{channel}}")
    volume = metric(rate("recorder_received_bytes_total", "source"), "{{source}}")
    last = ["lastNotNull"]
    return Section(
        "Flow",
        [
            (
                12,
                8,
                p.lines(
                    "Messages received", "Data messages a second by source and channel.", "cps", received, calcs=last
                ),
            ),
            (
                12,
                8,
                p.lines(
                    "Rows stored",
                    "Rows committed a second by table; a message can be several rows.",
                    "cps",
                    stored,
                    calcs=last,
                ),
            ),
            (
                12,
                8,
                p.lines(
                    "Age of the last message",
                    "By channel. What rises steadily has stopped coming; how long is too long depends on the market.",
                    "s",
                    heard,
                    calcs=last,
                ),
            ),
            (12, 8, p.lines("Received", "Payload bytes a second.", "Bps", volume, calcs=last)),
        ],
    )


def delay() -> Section:
    """How long a message takes, and where."""
    lag = metric(f"max by (source) (recorder_lag_seconds{BY})", "lag {{source}}")
    age = metric(f"max(recorder_committed_age_seconds{OURS})", "since the last commit", "B")
    latency = "recorder_venue_latency_seconds"
    middle = metric(quantile(0.5, latency, "source", BY), "p50 {{source}}")
    worst = metric(quantile(0.99, latency, "source", BY), "p99 {{source}}", "B")
    ours = [
        metric(quantile(share, f"recorder_{what}_seconds"), f"{what} p{share * 100:.0f}", ref)
        for ref, what, share in (
            *(("A", "commit", 0.5), ("B", "commit", 0.99)),
            *(("C", "spool_sync", 0.5), ("D", "spool_sync", 0.99)),
        )
    ]
    trip = metric(f"max by (source, endpoint) (recorder_rtt_seconds{BY})", "{{source}} {{endpoint}}")
    return Section(
        "Delay",
        [
            (
                12,
                8,
                p.lines(
                    "Lag", "Age of the oldest record not yet committed, and time since the last commit.", "s", lag, age
                ),
            ),
            (
                12,
                8,
                p.lines(
                    "From the venue",
                    "Time from the venue's clock to ours. The difference of the clocks is in it.",
                    "s",
                    middle,
                    worst,
                ),
            ),
            (
                12,
                8,
                p.lines(
                    "Commit and disk", "One flush from BEGIN to COMMIT, and one fdatasync of the spool.", "s", *ours
                ),
            ),
            (12, 8, p.lines("Round trip", "By ping on the connection itself.", "s", trip)),
        ],
    )


def connections() -> Section:
    """Whether connections stand, and why they fell."""
    ended = metric(count("recorder_reconnects_total", "source, reason"), "{{source}} {{reason}}")
    silent = metric(count("recorder_heartbeat_timeouts_total", "source"), "{{source}}")
    errors = metric(count("recorder_venue_errors_total", "source, code"), "{{source}} {{code}}")
    return Section(
        "Connections",
        [
            (12, 9, feeds()),
            (
                12,
                9,
                p.bars(
                    "Reconnects by reason",
                    "handover, line and config are planned; many of the others in ten minutes are a spike.",
                    "short",
                    ended,
                ),
            ),
            (
                12,
                8,
                p.bars(
                    "Heartbeat timeouts",
                    "No reply in time, or the venue says that it had none from us.",
                    "short",
                    silent,
                ),
            ),
            (
                12,
                8,
                p.bars(
                    "Venue errors by code",
                    "What venues answered with an error; the venue's file says what each code means.",
                    "short",
                    errors,
                ),
            ),
        ],
    )


def feeds() -> statetimeline.Panel:
    """Every feed over time."""
    state = metric(
        f"max by (source, feed) (recorder_connected{BY}) - max by (source, feed) (recorder_parked{BY})", "{{feed}}"
    )
    found = statetimeline.Panel().title("Feeds").datasource(p.METRICS).with_target(state)
    found = found.description(
        "Each connection over time. Parked: the venue refused it for good, it is tried every 15 minutes."
    )
    names = p.words(_1=("connected", p.GOOD), _0=("not connected", p.BAD), **{"_-1": ("parked", p.WORRY)})
    return found.mappings(names).show_value(look.VisibilityMode.NEVER).legend(p.legend()).unit("none").line_width(0)


def buffers() -> Section:
    """What waits, and how much more can."""
    used = metric(f"sum by (source) (recorder_spool_bytes{OURS})", "{{source}}")
    most = metric(f"max(recorder_spool_max_bytes{OURS})", "limit", "B")
    free = metric(f"min(recorder_disk_free_bytes{OURS})", "free on the disk")
    waiting = metric(f"sum(recorder_queue_bytes{OURS})", "waiting")
    oldest = metric(f"max(recorder_spool_oldest_age_seconds{OURS})", "oldest frame")
    behind = metric(count("recorder_queue_overflows_total", "source"), "{{source}}")
    return Section(
        "Buffers",
        [
            (
                12,
                8,
                p.lines(
                    "Spool", "Size on disk by source, and the limit of all together.", "bytes", used, most
                ).override_by_name("limit", p.limit()),
            ),
            (12, 8, p.lines("Disk", "Free space where the spool lives.", "bytes", free)),
            (8, 7, p.lines("Queue", "Decoded records waiting for the writer.", "bytes", waiting)),
            (
                8,
                7,
                p.lines(
                    "Oldest frame",
                    "What is committed is kept for a while, too: near that time it is normal.",
                    "s",
                    oldest,
                ),
            ),
            (
                8,
                7,
                p.bars(
                    "Feeds that fell behind",
                    "Times a feed left the queue and the writer went on from its spool.",
                    "short",
                    behind,
                ),
            ),
        ],
    )


def trouble() -> Section:
    """What should stay empty."""
    kinds = (
        ("Shed", "recorder_shed_messages_total", "source, channel", "Messages that the disk had no room for."),
        ("Quarantined", "recorder_quarantined_total", "source, reason", "Frames that could not become rows."),
        ("Gaps by cause", "recorder_gaps_total", "source, cause", "Holes found."),
        (
            "Schema drift",
            "recorder_schema_drift_total",
            "source, channel",
            "Messages with fields or kinds that are not known.",
        ),
        ("Books asked for again", "recorder_book_resyncs_total", "source", "Books whose chain broke."),
    )
    found = [
        (
            8,
            7,
            p.bars(
                title, about, "short", metric(count(name, by), " ".join(f"{{{{{label}}}}}" for label in by.split(", ")))
            ),
        )
        for title, name, by, about in kinds
    ]
    silent = metric(f"max by (source, channel) (recorder_silent_streams{BY}) > 0", "{{source}} {{channel}}")
    clock = metric(f"max by (source) (recorder_clock_offset_seconds{BY})", "{{source}}")
    chores = metric(count("recorder_chore_failures_total", "chore", OURS), "chore {{chore}}")
    scrapes = metric(count("recorder_scrape_errors_total", "metric", OURS), "metric {{metric}}", "B")
    return Section(
        "Trouble",
        [
            *found,
            (8, 7, p.lines("Silent streams", "Accepted by the venue, but nothing ever came.", "short", silent)),
            (
                12,
                7,
                p.lines(
                    "Clock", "How far our clock is ahead of the venue's.", "s", clock, signed=True
                ).axis_centered_zero(True),
            ),
            (
                12,
                7,
                p.bars(
                    "Chores and metrics that failed",
                    "Tried again; named here so that nothing fails silently.",
                    "short",
                    chores,
                    scrapes,
                ),
            ),
        ],
        folded=True,
    )


def process() -> Section:
    """What it costs."""
    cpu = metric(f"sum by (instance) (rate(process_cpu_seconds_total{OURS}[$__rate_interval]))", "{{instance}}")
    memory = metric(f"sum by (instance) (process_resident_memory_bytes{OURS})", "{{instance}}")
    files = metric(f"sum by (instance) (process_open_fds{OURS})", "{{instance}}")
    age = metric(f"time() - max by (instance) (process_start_time_seconds{OURS})", "{{instance}}")
    return Section(
        "Process",
        [
            (6, 7, p.lines("CPU", "Seconds of CPU a second: 100 % is one core.", "percentunit", cpu)),
            (6, 7, p.lines("Memory", "Resident; a recorder is meant to stay below 400 MiB.", "bytes", memory)),
            (6, 7, p.lines("Open files", "File descriptors.", "short", files)),
            (6, 7, p.lines("Running for", "A saw tooth is a recorder that is restarted again and again.", "s", age)),
        ],
        folded=True,
    )


def build() -> model.Dashboard:
    """The dashboard."""
    asked = p.statements("quality")
    made = p.board("Recorder", "recorder", "Whether the recorder works, and where it is stuck if it does not.")
    made = made.time("now-1h", "now").refresh("10s").with_variable(p.choose_job())
    sources = p.labels("source", "Source", 'label_values(recorder_received_bytes_total{job="$job"}, source)')
    made = made.with_variable(p.several(sources)).with_variable(p.choose_database())
    again = metric(f"sum by (source, reason) (increase(recorder_reconnects_total{UNPLANNED}[1m])) > 0")
    made = made.annotation(p.marks("Reconnects", p.WORRY, again.interval("1m").legend_format("{{source}} {{reason}}")))
    made = made.annotation(p.marks("Gaps", p.BAD, p.Sql(asked["gaps_of_sources"])))
    board = made.build()
    sections = (verdict(), flow(), delay(), connections(), buffers(), trouble(), process())
    board.panels = list(p.place(sections))
    return board
