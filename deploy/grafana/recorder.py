"""The dashboard *Recorder*: whether it works, and where it is stuck if it does not.

Owns the questions and their order: the verdict first, then the way of a message from the venue to the database. What
the alerts are made of is taken from the same recording rules, so that a number here is the number that woke somebody.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import statetimeline, timeseries
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana import panels as p
from deploy.grafana.panels import BAD, GOOD, WORRY, Section, metric

OURS = '{job="$job"}'
BY = '{job="$job", source=~"$source"}'
UNPLANNED = '{job="$job", source=~"$source", reason!~"handover|line|config"}'
LAST = ("lastNotNull",)


def rate(name: str, by: str, where: str = BY) -> str:
    """Events a second, summed by labels."""
    return f"sum by ({by}) (rate({name}{where}[$__rate_interval]))"


def counted(title: str, about: str, name: str, by: str, where: str = BY) -> timeseries.Panel:
    """Events in each interval, only where there are any."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    query = metric(f"sum by ({by}) (increase({name}{where}[$__interval])) > 0", legend)
    return p.bars(title, about, "short", query)


def verdict() -> Section:
    """Green means that everything received is stored."""
    up = metric(f"min(up{OURS})", now=True)
    database = metric(f"min(recorder_database_up{OURS})", now=True)
    down = metric(f"sum(source:recorder_connections:down{BY})", now=True)
    age = metric(f"max(recorder_committed_age_seconds{OURS})", now=True)
    lag = metric(f"max(recorder_lag_seconds{BY})", now=True)
    room = metric(f"min(recorder_spool_room_bytes{OURS})", now=True)
    gaps = metric(f"sum(increase(recorder_gaps_total{BY}[$__range]))", now=True)
    messages = metric(f"sum(source:recorder_messages:rate1m{BY})", now=True)
    works = p.words(_0=("down", BAD), _1=("up", GOOD))
    bad, late = p.steps((1, GOOD), base=BAD), p.steps((10, WORRY), (60, BAD))
    full = p.steps((1 << 30, WORRY), (4 << 30, GOOD), base=BAD)
    recorder = p.number("Recorder", "Whether Prometheus reaches every recorder.", up, "none", bad)
    stored = p.number("Database", "Whether it can be written. Feeds spool while it cannot.", database, "none", bad)
    left = "What the spool can still take while the database takes nothing; after that messages are shed."
    holes = "Holes found in the range shown; the dashboard Data quality has every one."
    rates = "Data messages a second of the sources chosen."
    return Section(
        "Does it work?",
        [
            recorder.mappings(works),
            stored.mappings(works),
            p.number("Feeds down", "Connections that should stand and do not.", down, "none", p.steps((1, BAD))),
            p.number("Last commit", "Time since anything was committed.", age, "s", late),
            p.number("Lag", "Age of the oldest record not yet committed.", lag, "s", late),
            p.number("Room in the spool", left, room, "bytes", full),
            p.number("Gaps", holes, gaps, "short", p.steps((0.5, WORRY))).decimals(0),
            p.number("Messages", rates, messages, "cps", p.steps(base=p.CALM)).decimals(0),
        ],
    )


def flow() -> Section:
    """From the venue to the database."""
    received = metric(rate("recorder_messages_received_total", "source, channel"), "{{source}} {{channel}}")
    stored = metric(rate("recorder_rows_committed_total", "table", OURS) + " > 0", "{{table}}")
    heard = metric(f"max by (source, channel) (recorder_last_message_age_seconds{BY})", "{{source}} {{channel}}")
    size = metric(rate("recorder_received_bytes_total", "source"), "{{source}}")
    rates = "Data messages a second by source and channel."
    rows = "Rows committed a second by table; a message can be several rows."
    ages = "By channel. What rises steadily has stopped coming; how long is too long depends on the market."
    return Section(
        "Flow",
        [
            p.lines("Messages received", rates, "cps", received, calcs=LAST),
            p.lines("Rows stored", rows, "cps", stored, calcs=LAST),
            p.lines("Age of the last message", ages, "s", heard, calcs=LAST),
            p.lines("Bytes received", "Payload a second by source.", "Bps", size, calcs=LAST),
        ],
    )


def delay() -> Section:
    """How long a message takes, and where."""
    lag = metric(f"max by (source) (recorder_lag_seconds{BY})", "lag {{source}}")
    age = metric(f"max(recorder_committed_age_seconds{OURS})", "since the last commit", "B")
    latency = "max by (source) (source:recorder_venue_latency_seconds"
    middle = metric(f"{latency}:p50_5m{BY})", "p50 {{source}}")
    worst = metric(f"{latency}:p99_5m{BY})", "p99 {{source}}", "B")
    commit = metric(f"max(instance:recorder_commit_seconds:p50_5m{OURS})", "commit p50")
    slow = metric(f"max(instance:recorder_commit_seconds:p99_5m{OURS})", "commit p99", "B")
    disk = metric(f"max(instance:recorder_spool_sync_seconds:p99_5m{OURS})", "spool's disk p99", "C")
    trip = metric(f"max by (source, endpoint) (recorder_rtt_seconds{BY})", "{{source}} {{endpoint}}")
    stored = "Age of the oldest record not yet committed, and time since the last commit."
    line = "Time from the venue's clock to ours. The difference of the clocks is in it."
    work = "One flush from BEGIN to COMMIT, and one fdatasync of the spool."
    return Section(
        "Delay",
        [
            p.lines("Until it is stored", stored, "s", lag, age),
            p.lines("Until it is here", line, "s", middle, worst),
            p.lines("Commit and disk", work, "s", commit, slow, disk),
            p.lines("Round trip", "By ping on connections, by handshake with a source's other addresses.", "s", trip),
        ],
    )


def connections() -> Section:
    """Whether connections stand, and why they fell."""
    spike = "source:recorder_reconnects_unplanned:increase10m"
    each = metric(f"max by (source) ({spike}{BY} / source:recorder_connections:count{BY})", "{{source}}")
    rises = p.lines(
        "Reconnects per connection", "Unplanned ones of ten minutes. More than three are a spike.", "short", each
    )
    rises = rises.thresholds(p.steps((3, BAD), base="transparent"))
    planned = "handover, line and config are planned."
    beats = "No reply in time, or the venue says that it had none from us."
    codes = "What venues answered with an error; `recorder venues` says what each code means."
    return Section(
        "Connections",
        [
            feeds(),
            counted("Reconnects by reason", planned, "recorder_reconnects_total", "source, reason").height(9),
            rises.thresholds_style(p.dashed()).span(8),
            counted("Heartbeat timeouts", beats, "recorder_heartbeat_timeouts_total", "source").span(8),
            counted("Venue errors by code", codes, "recorder_venue_errors_total", "source, code").span(8),
        ],
    )


def feeds() -> statetimeline.Panel:
    """Every feed over time."""
    stands, parked = (f"max by (source, feed) (recorder_{what}{BY})" for what in ("connected", "parked"))
    about = "Each connection over time. Parked: the venue refused it for good; it is tried every 15 minutes."
    found = statetimeline.Panel().title("Feeds").description(about).datasource(p.METRICS).span(12).height(9)
    found = found.with_target(metric(f"{stands} - {parked}", "{{feed}}")).unit("none").line_width(0)
    states = p.words(_1=("connected", GOOD), _0=("not connected", BAD), **{"_-1": ("parked", WORRY)})
    return found.mappings(states).show_value(look.VisibilityMode.NEVER).legend(p.legend())


def buffers() -> Section:
    """What waits, and how much more can."""
    used = metric(f"sum by (source) (recorder_spool_bytes{BY})", "{{source}}")
    most = metric(f"max(recorder_spool_max_bytes{OURS})", "limit", "B")
    free = metric(f"min(recorder_disk_free_bytes{OURS})", "free on the disk")
    room = metric(f"min(recorder_spool_room_bytes{OURS})", "room in the spool", "B")
    full = metric(f"min(instance:recorder_spool_full:seconds{OURS})", now=True)
    waiting = metric(f"sum(recorder_queue_bytes{OURS})", "waiting")
    oldest = metric(f"max(recorder_spool_oldest_age_seconds{OURS})", "oldest frame")
    disk = "Size on disk by source, and the limit of all together. What is committed is kept while there is room."
    pace = "At the pace of the last quarter of an hour. Empty while it does not fill."
    age = "Committed frames are kept for a while, too: near that time it is normal."
    behind = "Times a feed left the queue and the writer went on from its spool."
    hours = p.steps((3600, WORRY), (6 * 3600, GOOD), base=BAD)
    return Section(
        "Buffers",
        [
            p.lines("Spool", disk, "bytes", used, most).override_by_name("limit", p.limit()),
            p.lines("Room", "Free space where the spool lives, and what it may take.", "bytes", free, room),
            p.number("Spool full in", pace, full, "s", hours).no_value("not filling").height(7),
            p.lines("Queue", "Decoded records waiting for the writer.", "bytes", waiting).span(7).height(7),
            p.lines("Oldest frame", age, "s", oldest).span(7).height(7),
            counted("Fell behind", behind, "recorder_queue_overflows_total", "source").span(7).height(7),
        ],
    )


def trouble() -> Section:
    """What should stay empty."""
    drift = "Messages with fields or kinds that are not known."
    kinds = (
        ("Shed", "Messages that the disk had no room for.", "recorder_shed_messages_total", "source, channel"),
        ("Quarantined", "Frames that could not become rows.", "recorder_quarantined_total", "source, reason"),
        ("Gaps by cause", "Holes found.", "recorder_gaps_total", "source, cause"),
        ("Schema drift", drift, "recorder_schema_drift_total", "source, channel"),
        ("Books asked for again", "Books whose chain broke.", "recorder_book_resyncs_total", "source"),
    )
    silent = metric(f"max by (source, channel) (recorder_silent_streams{BY}) > 0", "{{source}} {{channel}} silent")
    refused = metric(f"max by (source) (recorder_gaps_open{BY}) > 0", "{{source}} refused", "B")
    empty = "Accepted, but nothing ever came; and refused: their holes go on."
    clock = metric(f"max by (source) (recorder_clock_offset_seconds{BY})", "{{source}}")
    ahead = "How far our clock is ahead of the venue's."
    chores = counted("Chores that failed", "They are tried again.", "recorder_chore_failures_total", "chore", OURS)
    scrapes = "Metrics that could not be read; their lines have holes."
    return Section(
        "Trouble",
        [
            *(counted(*kind).span(8).height(7) for kind in kinds),
            p.lines("Streams that do not come", empty, "short", silent, refused).span(8).height(7),
            p.lines("Clock", ahead, "s", clock, signed=True).axis_centered_zero(True).span(8).height(7),
            chores.span(8).height(7),
            counted("Scrape errors", scrapes, "recorder_scrape_errors_total", "metric", OURS).span(8).height(7),
        ],
        folded=True,
    )


def process() -> Section:
    """What it costs."""
    cpu = metric(f"sum by (instance) (rate(process_cpu_seconds_total{OURS}[$__rate_interval]))", "{{instance}}")
    memory = metric(f"sum by (instance) (process_resident_memory_bytes{OURS})", "{{instance}}")
    files = metric(f"sum by (instance) (process_open_fds{OURS})", "{{instance}}")
    age = metric(f"time() - max by (instance) (process_start_time_seconds{OURS})", "{{instance}}")
    saw = "A saw tooth is a recorder that is restarted again and again."
    found = [
        p.lines("CPU", "100 % is one core.", "percentunit", cpu),
        p.lines("Memory", "Resident; a recorder is meant to stay below 400 MiB.", "bytes", memory),
        p.lines("Open files", "File descriptors.", "short", files),
        p.lines("Running for", saw, "s", age),
    ]
    return Section("Process", [panel.span(6).height(7) for panel in found], folded=True)


def build() -> model.Dashboard:
    """The dashboard."""
    asked = p.statements("quality")
    made = p.board("Recorder", "recorder", "Whether the recorder works, and where it is stuck if it does not.")
    made = made.time("now-1h", "now").refresh("10s").with_variable(p.choose_job())
    sources = p.labels("source", "Source", 'label_values(recorder_received_bytes_total{job="$job"}, source)')
    made = made.with_variable(p.several(sources)).with_variable(p.choose_database())
    again = metric(f"sum by (source, reason) (increase(recorder_reconnects_total{UNPLANNED}[1m])) > 0")
    made = made.annotation(p.marks("Reconnects", WORRY, again.interval("1m").legend_format("{{source}} {{reason}}")))
    made = made.annotation(p.marks("Gaps", BAD, p.Sql(asked["gaps_of_sources"])))
    board = made.build()
    sections = (verdict(), flow(), delay(), connections(), buffers(), trouble(), process())
    board.panels = list(p.place(sections))
    return board
