"""The table of wrong configurations: the text of a file, and the one sentence that it must give. Holds no test."""

from __future__ import annotations

SOURCE = """
[[source]]
venue = "open"
[[source.subscribe]]
channels = ["trades"]
symbols = ["BTC-USDT"]
"""
KEYED = SOURCE.replace('"open"', '"fake"\napi_key = "k-e-y"')


def section(text: str) -> str:
    """A section before a right source."""
    return text + SOURCE


def source(keys: str) -> str:
    """A right source with more keys."""
    return SOURCE.replace("[[source.subscribe]]", f"{keys}\n[[source.subscribe]]", 1)


def subscribe(keys: str) -> str:
    """A source whose only block is this."""
    return f'[[source]]\nvenue = "open"\n[[source.subscribe]]\n{keys}\n'


OPEN = 'source[0] "open"'
LISTEN = 'is no address to listen on; write host:port, like "127.0.0.1:9464" or "[::1]:9464"'
PG = "must begin with postgresql://, like postgresql://recorder@localhost:5432/market"
QUOTED = (
    "cannot be read as a PostgreSQL URL; characters such as @ : / ? # % in user or password must be percent-encoded "
    "(@ is %40)"
)
NAMES = 'may hold letters, digits, "-" and "_" only, at most 40, a letter or digit first'
PROXY = "must be a proxy URL: http, socks4, socks5 or socks5h://host:port"

MISTAKES: list[tuple[str, str]] = [
    # the file
    ("[recorder\n", "is not TOML: Expected ']' at the end of a table declaration (at line 1, column 10)"),
    (
        "[database]\nflush_age = 10ms\n",
        "is not TOML: Expected newline or end of document after a statement (at line 2, column 15)",
    ),
    (
        "[recorder]\nlisten = localhost\n",
        "is not TOML: Invalid value (at line 2, column 10); strings, durations and sizes stand in quotes",
    ),
    ("", "there is no [[source]]: nothing would be recorded"),
    (section("[databse]\n"), 'databse: unknown key; did you mean "database"?'),
    (
        section("[influx]\n"),
        "influx: unknown key; known here: books, compression, database, recorder, refill, retention, source, spool",
    ),
    (section("database = 5\n"), "database: 5 must be a table"),
    (section("[[database]]\n"), "database: is a list of tables; write [database], once"),
    # [recorder]
    (section('[recorder]\ndata_dri = "x"\n'), 'recorder.data_dri: unknown key; did you mean "data_dir"?'),
    (section("[recorder]\ndata_dir = 5\n"), 'recorder.data_dir: 5 must be a string in quotes ("…")'),
    (section('[recorder]\ndata_dir = ""\n'), 'recorder.data_dir: "" must not be empty'),
    (
        section('[recorder]\ninstance = "a/b"\n'),
        'recorder.instance: "a/b" may hold letters, digits, "-", "_" and "." only: it names a directory',
    ),
    (
        section('[recorder]\ninstance = "spool"\n'),
        'recorder.instance: "spool" is what a recorder without instance calls its spool; choose another',
    ),
    (section('[recorder]\nlisten = "9464"\n'), f'recorder.listen: "9464" {LISTEN}'),
    (section('[recorder]\nlisten = ":9464"\n'), f'recorder.listen: ":9464" {LISTEN}'),
    (section('[recorder]\nlisten = "::1:9464"\n'), f'recorder.listen: "::1:9464" {LISTEN}'),
    (section('[recorder]\nlisten = "localhost:http"\n'), f'recorder.listen: "localhost:http" {LISTEN}'),
    (section('[recorder]\nlisten = "localhost:65536"\n'), 'recorder.listen: "localhost:65536" has a port above 65535'),
    # [database]
    (section('[database]\nurl = "mysql://h/db"\n'), f"database.url: {PG}"),
    (section('[database]\nurl = "postgresql://u:p@ss?word@h/db"\n'), f"database.url: {QUOTED}"),
    (
        section('[database]\nurl = "postgresql://h:port/db"\n'),
        "database.url: has a port that is no number from 1 to 65535",
    ),
    (section('[database]\nhost = "h"\n'), 'database.host: unknown key; the address goes into one "url"'),
    (
        section('[database]\npassword = "secret"\n'),
        "database.password: belongs to an address; set database.url, or leave the password out",
    ),
    (
        section('[database]\nurl = "postgresql://u:p@h/db"\npassword = "secret"\n'),
        "database.password: stands in database.url as well; keep one of the two",
    ),
    (section("[database]\npassword = 5\n"), 'database.password: must be a string in quotes ("…")'),
    (
        section("[database]\nflush_age = 0.1\n"),
        'database.flush_age: 0.1 must be a duration in quotes, like "250ms", "10s" or "7d"',
    ),
    (
        section('[database]\nflush_age = "10"\n'),
        'database.flush_age: "10" has no unit; write a duration like "250ms", "10s" or "7d"',
    ),
    (section('[database]\nflush_age = "2m"\n'), 'database.flush_age: "2m" must be from 1ms to 1m'),
    (
        section('[database]\nflush_age = "-1s"\n'),
        'database.flush_age: "-1s" is not a duration like "250ms", "10s" or "7d"',
    ),
    (
        section('[database]\nflush_rows = "20000"\n'),
        'database.flush_rows: "20000" must be a whole number, without quotes',
    ),
    (section("[database]\nflush_rows = true\n"), "database.flush_rows: true must be a whole number, without quotes"),
    (section("[database]\nflush_rows = 0\n"), "database.flush_rows: 0 must be from 1 to 1000000"),
    # [spool]
    (
        section('[spool]\nmax_size = "20gib"\n'),
        'spool.max_size: "20gib" has the unknown unit "gib"; did you mean "GiB"?',
    ),
    (section('[spool]\nmax_size = "20G"\n'), 'spool.max_size: "20G" has the unknown unit "G"; did you mean "GiB"?'),
    (section("[spool]\nmax_size = 20\n"), 'spool.max_size: 20 must be a size in quotes, like "64MiB" or "20GiB"'),
    (section('[spool]\nmax_size = "1KiB"\n'), 'spool.max_size: "1KiB" must be from 1MiB to 1024TiB'),
    (
        section('[spool]\nsync = "3 parsecs"\n'),
        'spool.sync: "3 parsecs" has no unit; write a duration like "250ms", "10s" or "7d"',
    ),
    (
        section('[spool]\nkeep = "6hours"\n'),
        'spool.keep: "6hours" has the unknown unit "hours"; units are us, ms, s, m, h, d, w',
    ),
    (section('[spool]\npriority = ["trade"]\n'), 'spool.priority[0]: "trade" is no table; did you mean "trades"?'),
    (section('[spool]\npriority = ["books", "books"]\n'), 'spool.priority: "books" stands here twice'),
    (section('[spool]\npriority = "books"\n'), 'spool.priority: "books" must be a list; write priority = ["books"]'),
    (
        section("[spool]\npriority = []\n"),
        'spool.priority: is empty: leave it out for the usual order, which begins with "trades"',
    ),
    # [books] [refill] [compression] [retention]
    (
        section('[books]\nsnapshot_every = "1ms"\n'),
        'books.snapshot_every: "1ms" must be from 1s to 7d, or "0s" for off',
    ),
    (section('[refill]\nenabled = "yes"\n'), 'refill.enabled: "yes" must be true or false, without quotes'),
    (
        section('[compression]\nafter = "1s"\n'),
        'compression.after: "1s" must be from 1h to 36600d, or "0s" for off',
    ),
    (section('[retention]\ntrade = "7d"\n'), 'retention.trade: is no table; did you mean "trades"?'),
    (section('[retention]\ntrades = "1m"\n'), 'retention.trades: "1m" must be from 1h to 36600d, or "0s" for off'),
    # [[source]]
    ("source = 5", "source: must be tables; write [[source]]"),
    (
        '[[source]]\n[[source.subscribe]]\nchannels = ["trades"]\n',
        "source[0].venue: is missing; venues are fake, open",
    ),
    (
        '[[source]]\nname = "open"\n[[source.subscribe]]\nchannels = ["trades"]\n',
        f'{OPEN}.venue: is missing; did you mean venue = "open"?',
    ),
    (SOURCE.replace('"open"', '"opne"'), 'source[0] "opne".venue: "opne" is no venue; did you mean "open"?'),
    (SOURCE.replace('"open"', '"nasdaq"'), 'source[0] "nasdaq".venue: "nasdaq" is no venue; known: fake, open'),
    (source('name = "a.b"'), f'source[0] "a.b".name: "a.b" {NAMES}'),
    (source('name = ""'), f'source[0] "".name: "" {NAMES}'),
    (source('name = "a/b"'), f'source[0] "a/b".name: "a/b" {NAMES}'),
    (source("connections = 3"), f"{OPEN}.connections: 3 must be from 1 to 2"),
    (source('coalesce = "2s"'), f'{OPEN}.coalesce: "2s" must be from 0s to 1s'),
    (source('refill = "true"'), f'{OPEN}.refill: "true" must be true or false, without quotes'),
    (source('endpoints = "wss://h"'), f'{OPEN}.endpoints: "wss://h" must be a list; write endpoints = ["wss://h"]'),
    (source("endpoints = []"), f"{OPEN}.endpoints: is empty: leave it out to use the venue's own"),
    (source('endpoints = ["https://h"]'), f'{OPEN}.endpoints[0]: "https://h" must begin with wss:// or ws://'),
    (
        source('endpoints = ["wss://h:99999"]'),
        f'{OPEN}.endpoints[0]: "wss://h:99999" has a port that is no number from 1 to 65535',
    ),
    (source('endpoints = ["wss://[h"]'), f'{OPEN}.endpoints[0]: "wss://[h" is no URL that can be read'),
    (source('endpoints = ["wss://"]'), f'{OPEN}.endpoints[0]: "wss://" is no URL with a host'),
    (
        source('endpoints = ["wss://u:canary@h"]'),
        f'{OPEN}.endpoints[0]: "wss://u:***@h" must not hold a user or password',
    ),
    (
        source('endpoints = ["wss://h/?apikey=canary"]'),
        f'{OPEN}.endpoints[0]: "wss://h/?apikey=***" must end before "?" and "#": paths and queries are added by the '
        "venue",
    ),
    (source('rest = "wss://h"'), f'{OPEN}.rest: "wss://h" must begin with https:// or http://'),
    (source('proxy = "127.0.0.1:1080"'), f"{OPEN}.proxy: {PROXY}"),
    (source('proxy = "ftp://u:canary@h:1"'), f"{OPEN}.proxy: {PROXY}"),
    (source('proxy = "socks5h://u:canary@h"'), f"{OPEN}.proxy: names no port; write socks5h://host:port"),
    (
        source("limits = { max_conections = 1 }"),
        f'{OPEN}.limits.max_conections: unknown key; did you mean "max_connections"?',
    ),
    (
        source('limits = { max_connections = "1" }'),
        f'{OPEN}.limits.max_connections: "1" must be a whole number, without quotes',
    ),
    (source("limits = 5"), f"{OPEN}.limits: 5 must be a table"),
    (source('endpoint = "wss://h"'), f'{OPEN}.endpoint: unknown key; did you mean "endpoints"?'),
    (
        source('api_key = "canary"'),
        f"{OPEN}.api_key: unknown key; it belongs to venue fake, this one is open",
    ),
    # what only the venue knows
    (SOURCE.replace('"open"', '"fake"'), 'source[0] "fake".api_key: is missing'),
    (KEYED.replace('"k-e-y"', "5"), 'source[0] "fake".api_key: must be a string in quotes ("…")'),
    (KEYED.replace('"trades"', '"trads"'), 'source[0] "fake".subscribe[0].channels[0]: unknown channel "trads"'),
    # [[source.subscribe]]
    (
        '[[source]]\nvenue = "open"\n',
        f"{OPEN}.subscribe: is missing; add [[source.subscribe]] with channels and symbols",
    ),
    (
        SOURCE.replace("[[source.subscribe]]", "[source.subscribe]"),
        f"{OPEN}.subscribe: is one table, and there can be several; write [[source.subscribe]]",
    ),
    (subscribe('symbols = ["A"]'), f"{OPEN}.subscribe[0].channels: is missing; list the venue's own channel names"),
    (subscribe("channels = []"), f"{OPEN}.subscribe[0].channels: is empty: nothing would be recorded"),
    (
        subscribe('channels = ["trades"]\nsymbols = []'),
        f"{OPEN}.subscribe[0].symbols: is empty: nothing would be recorded; leave it out where a channel needs none",
    ),
    (
        subscribe('channels = "trades"'),
        f'{OPEN}.subscribe[0].channels: "trades" must be a list; write channels = ["trades"]',
    ),
    (
        subscribe('channels = ["trades"]\nsymbols = ["A", 5]'),
        f'{OPEN}.subscribe[0].symbols[1]: 5 must be a string in quotes ("…")',
    ),
    (
        subscribe('channels = ["trades"]\nsymbols = [" A"]'),
        f'{OPEN}.subscribe[0].symbols[0]: " A" must not begin or end with a space',
    ),
    (subscribe('channels = ["trades"]\nsymbols = ["A", "A"]'), f'{OPEN}.subscribe[0].symbols: "A" stands here twice'),
    (
        subscribe('channels = ["trades"]\nsymbol = ["A"]'),
        f'{OPEN}.subscribe[0].symbol: unknown key; did you mean "symbols"?',
    ),
    (
        subscribe('channels = ["trades"]\nsymbols = ["A", "B", "C"]')
        + '[[source.subscribe]]\nchannels = ["books", "trades"]\nsymbols = ["B", "C"]\n',
        f'{OPEN}.subscribe[1]: "trades B" and 1 more is already asked for in subscribe[0]',
    ),
    # between sources
    (
        SOURCE + SOURCE.replace("BTC", "ETH"),
        f'source[1] "open".name: "open" is already the name of {OPEN}; add a name of its own',
    ),
    (
        SOURCE + SOURCE.replace('"open"', '"open"\nname = "second"'),
        f'source[1] "second".subscribe: "trades BTC-USDT" is already recorded by {OPEN}; connections = 2 makes it '
        "redundant",
    ),
    # references
    (
        source('sessions = "${NOWHERE}"'),
        f"{OPEN}.sessions: needs the environment variable NOWHERE, which is not set",
    ),
    (
        source('sessions = "${NOWHERE:?set NOWHERE to your hours}"'),
        f"{OPEN}.sessions: needs the environment variable NOWHERE: set NOWHERE to your hours",
    ),
    (source('sessions = "${NOWHERE:?}"'), f"{OPEN}.sessions: needs the environment variable NOWHERE: not set"),
    (
        source('sessions = "${1X}"'),
        f'{OPEN}.sessions: holds a "${{" that is no ${{VAR}}, ${{VAR:-default}} or ${{VAR:?message}}; a literal one is '
        '"$${"',
    ),
    (
        source('sessions = "file:/nowhere/at/all"'),
        f"{OPEN}.sessions: names the file /nowhere/at/all, which cannot be read: No such file or directory",
    ),
    (
        source('sessions = "file:here"'),
        f'{OPEN}.sessions: names a file without its full path; write "file:/full/path"',
    ),
]
