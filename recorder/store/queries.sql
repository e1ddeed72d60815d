-- Every statement that the recorder sends while it runs, by name. Times may come as timestamptz or as text.
-- Format: `-- name: x`, one line of description, the statement. Read by recorder/store/queries.py.

-- name: session
-- Settings that every transaction of this connection relies on: lock_timeout, statement_timeout, idle timeout.
SELECT set_config('lock_timeout', %s, false),
       set_config('statement_timeout', %s, false),
       set_config('idle_in_transaction_session_timeout', %s, false),
       set_config('timezone', 'UTC', false),
       set_config('client_min_messages', 'warning', false),
       set_config('datestyle', 'ISO, YMD', false),
       set_config('synchronous_commit',
                  CASE current_setting('synchronous_commit')
                       WHEN 'off' THEN 'on' WHEN 'local' THEN 'on'
                       ELSE current_setting('synchronous_commit') END, false);

-- name: session_decompression
-- Late rows must reach compressed chunks: without this a big backlog fails for ever on TimescaleDB's limit.
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name = 'timescaledb.max_tuples_decompressed_per_dml_transaction';

-- name: backend
-- Who serves this connection: its process, when that began, and whether it may write.
SELECT a.pid, a.backend_start, current_setting('transaction_read_only') = 'on'
FROM pg_stat_activity a WHERE a.pid = pg_backend_pid();

-- name: backend_pid
-- The server process behind this transaction; behind a pooler it is not the one that the connection announced.
SELECT pg_backend_pid();

-- name: terminate_backend
-- End a lost backend of ours, and only ours: same process, same start, same application name.
SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
WHERE pid = %s AND backend_start = %s AND application_name = %s AND pid <> pg_backend_pid();

-- name: positions
-- All positions of a recorder, locked in a fixed order; age in seconds by the server's clock.
SELECT feed, run, next, epoch, instance, extract(epoch FROM clock_timestamp() - committed_at)::float8
FROM positions WHERE recorder_id = %s::uuid ORDER BY feed FOR UPDATE;

-- name: insert_positions
-- Rows for feeds that have none; the take-over that follows lifts their epoch to 1.
INSERT INTO positions (recorder_id, feed, run, next, epoch, instance, committed_at)
SELECT %s::uuid, n.feed, n.run, n.next, 0, %s, now()
FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS n (feed, run, next)
ORDER BY n.feed
ON CONFLICT (recorder_id, feed) DO NOTHING;

-- name: take_over
-- Become the owner of all positions of a recorder: whoever held them before is fenced by the higher epoch.
UPDATE positions SET epoch = epoch + 1, instance = %s, committed_at = now()
WHERE recorder_id = %s::uuid RETURNING feed, run, next, epoch;

-- name: release_positions
-- Let another instance take over at once, without waiting until this one is surely gone.
UPDATE positions p SET instance = ''
FROM unnest(%s::text[], %s::bigint[]) AS m (feed, epoch)
WHERE p.recorder_id = %s::uuid AND p.feed = m.feed AND p.epoch = m.epoch;

-- name: move_positions
-- Compare-and-set of several feeds at once, locked in a fixed order; counts the rows that matched.
WITH moves AS (
    SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[], %s::timestamptz[])
        AS m (feed, run, next, epoch, new_run, new_next, watermark)
), held AS MATERIALIZED (
    SELECT p.feed FROM positions p WHERE p.recorder_id = %s::uuid AND p.feed IN (SELECT feed FROM moves)
    ORDER BY p.feed FOR UPDATE
)
UPDATE positions p
SET run = m.new_run, next = m.new_next, watermark = coalesce(m.watermark, p.watermark), committed_at = now(),
    instance = %s
FROM moves m JOIN held h USING (feed)
WHERE p.recorder_id = %s::uuid AND p.feed = m.feed AND p.run = m.run AND p.next = m.next AND p.epoch = m.epoch;

-- name: checkpoints
-- What continuity knew at its last checkpoints: feed, run, next, state, stale.
SELECT feed, run, next, state, stale FROM checkpoints WHERE recorder_id = %s::uuid ORDER BY feed;

-- name: upsert_checkpoint
-- Continuity's state at the position that the feed has (in a restored database another): id, feed, run, next, state.
INSERT INTO checkpoints (recorder_id, feed, run, next, state, stale)
SELECT recorder_id, feed, run, next, v.state, false
FROM (VALUES (%s::uuid, %s::text, %s::text, %s::bigint, %s::bytea)) AS v (recorder_id, feed, run, next, state)
JOIN positions p USING (recorder_id, feed, run, next)
ON CONFLICT (recorder_id, feed) DO UPDATE
SET run = excluded.run, next = excluded.next, state = excluded.state, stale = false;

-- name: delete_checkpoint
-- Forget the checkpoint of a feed that is drained: recorder_id, feed.
DELETE FROM checkpoints WHERE recorder_id = %s::uuid AND feed = %s;

-- name: copy_trades
-- COPY of trades.
COPY trades (time, received_at, source, channel, symbol, price, size, side, trade_id, count, seq, turnover, origin)
FROM STDIN;

-- name: copy_quotes
-- COPY of quotes.
COPY quotes (time, received_at, source, channel, symbol, bid_price, bid_size, ask_price, ask_size, seq) FROM STDIN;

-- name: copy_tickers
-- COPY of tickers.
COPY tickers (time, received_at, source, channel, symbol, last_price, last_size, bid_price, bid_size, ask_price,
              ask_size, open_24h, high_24h, low_24h, volume_24h, turnover_24h, open_interest) FROM STDIN;

-- name: copy_books
-- COPY of books.
COPY books (time, received_at, source, channel, symbol, kind, seq, prev_seq, bids, asks, integrity, origin) FROM STDIN;

-- name: create_incoming_candles
-- Where a session's candles arrive before they are merged: the same columns and checks, and the order of arrival.
CREATE TEMP TABLE IF NOT EXISTS incoming_candles
    (LIKE candles INCLUDING CONSTRAINTS, arrival bigint GENERATED ALWAYS AS IDENTITY) ON COMMIT DELETE ROWS;

-- name: copy_candles
-- COPY of candles, to where they wait for merge_candles.
COPY incoming_candles (time, received_at, source, channel, symbol, interval, open, high, low, close, volume, turnover,
                       closed, origin) FROM STDIN;

-- name: merge_candles
-- One row per candle: the last revision by received_at wins, a closed one is never reopened. Empties the incoming.
WITH incoming AS (
    DELETE FROM incoming_candles RETURNING *
)
INSERT INTO candles AS c (time, received_at, source, channel, symbol, interval, open, high, low, close, volume,
                          turnover, closed, origin)
SELECT DISTINCT ON (source, channel, symbol, interval, time)
       time, received_at, source, channel, symbol, interval, open, high, low, close, volume, turnover, closed, origin
FROM incoming
ORDER BY source, channel, symbol, interval, time, coalesce(closed, false) DESC, received_at DESC, arrival DESC
ON CONFLICT (source, channel, symbol, interval, time) DO UPDATE
SET received_at = excluded.received_at, open = excluded.open, high = excluded.high, low = excluded.low,
    close = excluded.close, volume = excluded.volume, turnover = excluded.turnover, closed = excluded.closed,
    origin = excluded.origin
WHERE coalesce(excluded.closed, false) > coalesce(c.closed, false)
   OR (coalesce(excluded.closed, false) = coalesce(c.closed, false) AND excluded.received_at >= c.received_at);

-- name: copy_funding_rates
-- COPY of funding_rates.
COPY funding_rates (time, received_at, source, channel, symbol, rate, next_rate, funding_time, next_funding_time)
FROM STDIN;

-- name: copy_open_interest
-- COPY of open_interest.
COPY open_interest (time, received_at, source, channel, symbol, contracts, amount, value_usd) FROM STDIN;

-- name: copy_reference_prices
-- COPY of reference_prices.
COPY reference_prices (time, received_at, source, channel, symbol, kind, price) FROM STDIN;

-- name: copy_liquidations
-- COPY of liquidations.
COPY liquidations (time, received_at, source, channel, symbol, side, position_side, price, size) FROM STDIN;

-- name: copy_messages
-- COPY of messages.
COPY messages (time, received_at, source, channel, symbol, payload) FROM STDIN;

-- name: streams
-- Every stream ever recorded.
SELECT source, channel, symbol FROM streams;

-- name: insert_stream
-- A stream seen for the first time: source, channel, symbol, first_time.
INSERT INTO streams (source, channel, symbol, first_time) VALUES (%s, %s, %s, %s::timestamptz)
ON CONFLICT (source, channel, symbol) DO NOTHING;

-- name: insert_gap
-- A hole: source, channel, symbol, from_time, to_time, from_seq, to_seq, missing, cause, state, detected_at, closed_at.
INSERT INTO gaps (source, channel, symbol, from_time, to_time, from_seq, to_seq, missing, cause, state, detected_at,
                  closed_at)
VALUES (%s, %s, %s, %s::timestamptz, %s::timestamptz, %s, %s, %s, %s, %s, %s::timestamptz, %s::timestamptz);

-- name: open_gap
-- A hole that goes on, unless the stream has one already: source, channel, symbol, from_time, cause, detected_at, and
-- source, channel, symbol, cause again.
INSERT INTO gaps (source, channel, symbol, from_time, cause, detected_at)
SELECT %s, %s, %s, %s::timestamptz, %s, %s::timestamptz
WHERE NOT EXISTS (SELECT FROM gaps WHERE source = %s AND channel = %s AND symbol = %s AND cause = %s AND to_time IS NULL);

-- name: close_gap
-- A hole has ended: to_time, closed_at, source, channel, symbol, cause.
UPDATE gaps SET to_time = greatest(%s::timestamptz, from_time), closed_at = %s::timestamptz
WHERE source = %s AND channel = %s AND symbol = %s AND cause = %s AND to_time IS NULL;

-- name: drop_open_gap
-- A hole goes on no more, and what it cost the next record tells: source, channel, symbol, cause.
DELETE FROM gaps WHERE source = %s AND channel = %s AND symbol = %s AND cause = %s AND to_time IS NULL;

-- name: delete_gap
-- A hole that proves smaller is taken back, the rest is inserted anew: source, channel, symbol, from_seq, to_seq.
DELETE FROM gaps
WHERE source = %s AND channel = %s AND symbol = %s
  AND from_seq IS NOT DISTINCT FROM %s::bigint AND to_seq IS NOT DISTINCT FROM %s::bigint
RETURNING id, from_time, to_time, from_seq, to_seq, missing, cause;

-- name: open_connection
-- A connection stands: source, feed, endpoint, opened_at.
INSERT INTO connections (feed, endpoint, opened_at)
SELECT v.feed, v.endpoint, v.opened_at
FROM (VALUES (%s::text, %s::text, %s::text, %s::timestamptz)) AS v (source, feed, endpoint, opened_at);

-- name: close_connection
-- It ended: closed_at, reason, code, frames, rtt_ms; source, feed.
UPDATE connections c SET closed_at = v.closed_at, reason = v.reason, code = v.code, frames = v.frames, rtt_ms = v.rtt_ms
FROM (VALUES (%s::timestamptz, %s::text, %s::text, %s::bigint, %s::float8, %s::text, %s::text))
     AS v (closed_at, reason, code, frames, rtt_ms, source, feed)
WHERE c.feed = v.feed AND c.closed_at IS NULL
  AND c.opened_at = (SELECT max(o.opened_at) FROM connections o WHERE o.feed = v.feed);

-- name: abandon_connections
-- A process that was killed could not say that its connections ended: closed_at (at the latest); feed.
UPDATE connections SET closed_at = %s::timestamptz, reason = 'recorder_down' WHERE feed = %s AND closed_at IS NULL;

-- name: open_subscription
-- A stream was asked for and nobody answered yet: source, feed, channel, symbol, from_time.
INSERT INTO subscriptions (source, feed, channel, symbol, from_time, outcome)
VALUES (%s, %s, %s, %s, %s::timestamptz, 'pending');

-- name: set_subscription
-- The venue answered: outcome; source, channel, symbol.
UPDATE subscriptions SET outcome = %s WHERE source = %s AND channel = %s AND symbol = %s AND to_time IS NULL;

-- name: end_subscription
-- It was refused, or we gave it up: outcome, to_time; source, channel, symbol.
UPDATE subscriptions SET outcome = %s, to_time = %s::timestamptz
WHERE source = %s AND channel = %s AND symbol = %s AND to_time IS NULL;

-- name: end_feed_subscriptions
-- A connection ended, and all its subscriptions with it: to_time; source, feed.
UPDATE subscriptions SET outcome = 'ended', to_time = %s::timestamptz
WHERE source = %s AND feed = %s AND to_time IS NULL;

-- name: insert_event
-- Something the venue said about itself: time, source, feed, code, action, message.
INSERT INTO venue_events (time, source, feed, code, action, message) VALUES (%s::timestamptz, %s, %s, %s, %s, %s);

-- name: insert_quarantine
-- A frame that could not be stored as rows: received_at, source, feed, frame (`run/n`), reason, raw.
INSERT INTO quarantine (received_at, source, feed, frame, reason, raw) VALUES (%s::timestamptz, %s, %s, %s, %s, %s);

-- name: last_trades
-- Last stored trade of streams since a time: sources, channels, symbols, since.
SELECT s.source, s.channel, s.symbol, r.time, r.trade_id, r.count
FROM unnest(%s::text[], %s::text[], %s::text[]) AS s (source, channel, symbol)
CROSS JOIN LATERAL (
    SELECT t.time, t.trade_id, t.count FROM trades t
    WHERE t.symbol = s.symbol AND t.source = s.source AND t.channel = s.channel AND t.time >= %s::timestamptz
    ORDER BY t.time DESC, t.seq DESC NULLS LAST, length(t.trade_id) DESC NULLS LAST, t.trade_id DESC NULLS LAST LIMIT 1
) r;

-- name: trades_since
-- Stored trades of a stream with numeric ids since a time, in the order of their ids: source, channel, symbol, since.
SELECT t.trade_id::bigint - coalesce(t.count, 1) + 1, t.trade_id::bigint, t.time FROM trades t
WHERE t.source = %s AND t.channel = %s AND t.symbol = %s AND t.time >= %s::timestamptz AND t.trade_id ~ '^[0-9]{1,18}$'
ORDER BY t.trade_id::bigint;

-- name: gaps_since
-- Reported ranges of missing ids of a stream that reach beyond a time: source, channel, symbol, since.
SELECT from_seq, to_seq FROM gaps
WHERE source = %s AND channel = %s AND symbol = %s AND to_time >= %s::timestamptz
  AND from_seq IS NOT NULL AND missing IS NOT NULL;

-- name: last_books
-- Last stored book record of streams since a time, of those that came over them: sources, channels, symbols, since.
SELECT s.source, s.channel, s.symbol, r.time, r.seq, r.prev_seq
FROM unnest(%s::text[], %s::text[], %s::text[]) AS s (source, channel, symbol)
CROSS JOIN LATERAL (
    SELECT t.time, t.seq, t.prev_seq FROM books t
    WHERE t.symbol = s.symbol AND t.source = s.source AND t.channel = s.channel AND t.time >= %s::timestamptz
      AND t.origin = 'stream'
    ORDER BY t.time DESC, t.received_at DESC, t.seq DESC NULLS LAST LIMIT 1
) r;

-- name: last_candles
-- Last stored candle of streams since a time: sources, channels, symbols, since.
SELECT s.source, s.channel, s.symbol, r.time, r.closed
FROM unnest(%s::text[], %s::text[], %s::text[]) AS s (source, channel, symbol)
CROSS JOIN LATERAL (
    SELECT t.time, t.closed FROM candles t
    WHERE t.symbol = s.symbol AND t.source = s.source AND t.channel = s.channel AND t.time >= %s::timestamptz
    ORDER BY t.time DESC LIMIT 1
) r;

-- name: last_quotes
-- Time of the last row in quotes of streams since a time: sources, channels, symbols, since.
SELECT s.source, s.channel, s.symbol, r.time
FROM unnest(%s::text[], %s::text[], %s::text[]) AS s (source, channel, symbol)
CROSS JOIN LATERAL (
    SELECT t.time FROM quotes t
    WHERE t.symbol = s.symbol AND t.source = s.source AND t.channel = s.channel AND t.time >= %s::timestamptz
    ORDER BY t.time DESC LIMIT 1
) r;

-- name: last_tickers
-- Time of the last row in tickers of streams since a time: sources, channels, symbols, since.
SELECT s.source, s.channel, s.symbol, r.time
FROM unnest(%s::text[], %s::text[], %s::text[]) AS s (source, channel, symbol)
CROSS JOIN LATERAL (
    SELECT t.time FROM tickers t
    WHERE t.symbol = s.symbol AND t.source = s.source AND t.channel = s.channel AND t.time >= %s::timestamptz
    ORDER BY t.time DESC LIMIT 1
) r;

-- name: last_funding_rates
-- Time of the last row in funding_rates of streams since a time: sources, channels, symbols, since.
SELECT s.source, s.channel, s.symbol, r.time
FROM unnest(%s::text[], %s::text[], %s::text[]) AS s (source, channel, symbol)
CROSS JOIN LATERAL (
    SELECT t.time FROM funding_rates t
    WHERE t.symbol = s.symbol AND t.source = s.source AND t.channel = s.channel AND t.time >= %s::timestamptz
    ORDER BY t.time DESC LIMIT 1
) r;

-- name: last_open_interest
-- Time of the last row in open_interest of streams since a time: sources, channels, symbols, since.
SELECT s.source, s.channel, s.symbol, r.time
FROM unnest(%s::text[], %s::text[], %s::text[]) AS s (source, channel, symbol)
CROSS JOIN LATERAL (
    SELECT t.time FROM open_interest t
    WHERE t.symbol = s.symbol AND t.source = s.source AND t.channel = s.channel AND t.time >= %s::timestamptz
    ORDER BY t.time DESC LIMIT 1
) r;

-- name: last_reference_prices
-- Time of the last row in reference_prices of streams since a time: sources, channels, symbols, since.
SELECT s.source, s.channel, s.symbol, r.time
FROM unnest(%s::text[], %s::text[], %s::text[]) AS s (source, channel, symbol)
CROSS JOIN LATERAL (
    SELECT t.time FROM reference_prices t
    WHERE t.symbol = s.symbol AND t.source = s.source AND t.channel = s.channel AND t.time >= %s::timestamptz
    ORDER BY t.time DESC LIMIT 1
) r;

-- name: last_liquidations
-- Time of the last row in liquidations of streams since a time: sources, channels, symbols, since.
SELECT s.source, s.channel, s.symbol, r.time
FROM unnest(%s::text[], %s::text[], %s::text[]) AS s (source, channel, symbol)
CROSS JOIN LATERAL (
    SELECT t.time FROM liquidations t
    WHERE t.symbol = s.symbol AND t.source = s.source AND t.channel = s.channel AND t.time >= %s::timestamptz
    ORDER BY t.time DESC LIMIT 1
) r;

-- name: last_messages
-- Time of the last row in messages of streams since a time: sources, channels, symbols, since.
SELECT s.source, s.channel, s.symbol, r.time
FROM unnest(%s::text[], %s::text[], %s::text[]) AS s (source, channel, symbol)
CROSS JOIN LATERAL (
    SELECT t.time FROM messages t
    WHERE t.symbol = s.symbol AND t.source = s.source AND t.channel = s.channel AND t.time >= %s::timestamptz
    ORDER BY t.time DESC LIMIT 1
) r;

-- name: count_rows
-- How much there is of each source in each table, and from when to when.
SELECT "table", source, count(*) AS rows, to_char(min(time), 'HH24:MI:SS.MS') AS first,
       to_char(max(time), 'HH24:MI:SS.MS') AS last
FROM (
    SELECT 'trades' AS "table", source, time FROM trades
    UNION ALL SELECT 'quotes', source, time FROM quotes
    UNION ALL SELECT 'tickers', source, time FROM tickers
    UNION ALL SELECT 'books', source, time FROM books
    UNION ALL SELECT 'candles', source, time FROM candles
) AS every
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: example_bars
-- Five-second bars made of trades: the last half minute.
SELECT s.symbol, to_char(b.time, 'HH24:MI:SS') AS time, open, high, low, close,
       round(volume, 4) AS volume, trades
FROM (VALUES ('okx', 'BTC-USDT'), ('infoway', 'USOIL')) AS s (source, symbol)
CROSS JOIN ohlcv(s.source, s.symbol, '5 seconds', now() - interval '30 seconds',
                 now()) AS b
ORDER BY s.symbol, b.time;

-- name: example_flow
-- Who takes: bought and sold by takers; empty where the venue does not tell.
SELECT source, symbol, count(*) AS trades,
       round(sum(size) FILTER (WHERE side = 'buy'), 4) AS bought,
       round(sum(size) FILTER (WHERE side = 'sell'), 4) AS sold,
       round(sum(CASE side WHEN 'buy' THEN size WHEN 'sell' THEN -size END)
             / sum(size), 3) AS imbalance
FROM trades GROUP BY source, symbol ORDER BY source, symbol;

-- name: example_spread
-- What crossing the spread costs, in basis points of the mid price.
WITH best AS (
    SELECT source, symbol, bid_price AS bid, ask_price AS ask FROM quotes
    UNION ALL
    SELECT source, symbol, bids[1][1], asks[1][1] FROM books
    WHERE kind = 'snapshot'
), spreads AS (
    SELECT source, symbol, (ask - bid) / (ask + bid) * 20000 AS bps FROM best
)
SELECT source, symbol, count(bps) AS prices, round(avg(bps), 3) AS average_bps,
       round(max(bps), 3) AS widest_bps
FROM spreads GROUP BY source, symbol ORDER BY source, symbol;

-- name: example_depth
-- What the last whole book of each stream holds within ten basis points.
WITH last AS (
    SELECT DISTINCT ON (source, channel, symbol)
           source, channel, symbol, time, received_at
    FROM books WHERE kind = 'snapshot'
    ORDER BY source, channel, symbol, time DESC, received_at DESC
), levels AS (
    SELECT b.*, first_value(price) OVER (
        PARTITION BY source, channel, symbol, side ORDER BY level) AS best
    FROM last JOIN book_levels b
    USING (source, channel, symbol, time, received_at) WHERE kind = 'snapshot'
)
SELECT source, channel, symbol, count(*) FILTER (WHERE side = 'bid') AS bids,
       round(sum(size) FILTER (WHERE side = 'bid')::numeric, 4) AS bid_size,
       count(*) FILTER (WHERE side = 'ask') AS asks,
       round(sum(size) FILTER (WHERE side = 'ask')::numeric, 4) AS ask_size
FROM levels WHERE abs(price / best - 1) <= 0.001
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- name: example_delay
-- How long trades took from the venue's clock to ours, in milliseconds.
WITH delays AS (
    SELECT source, channel,
           extract(epoch FROM received_at - time)::numeric * 1000 AS ms
    FROM trades
)
SELECT source, channel, count(*) AS rows,
       round(percentile_disc(0.5) WITHIN GROUP (ORDER BY ms), 1) AS p50_ms,
       round(percentile_disc(0.99) WITHIN GROUP (ORDER BY ms), 1) AS p99_ms
FROM delays GROUP BY source, channel ORDER BY source, channel;

-- name: find_gaps
-- Every hole, newest first.
SELECT source, channel, symbol, from_time, to_time, from_seq, to_seq, missing, cause, state
FROM gaps ORDER BY detected_at DESC LIMIT 20;

-- name: status_session
-- For somebody who only looks: nothing can be changed, nothing can take long.
SELECT set_config('statement_timeout', '10s', false), set_config('default_transaction_read_only', 'on', false);

-- name: status_positions
-- What is committed, read without a lock; of one recorder, or of all (null): recorder_id.
SELECT recorder_id::text, feed, run, next, epoch, extract(epoch FROM clock_timestamp() - committed_at)::float8,
       extract(epoch FROM clock_timestamp() - watermark)::float8
FROM positions WHERE recorder_id = coalesce(%s::uuid, recorder_id) ORDER BY recorder_id, feed;

-- name: status_gaps
-- Holes by source and cause: how many, how many still go on, and when the last one was found.
SELECT source, cause, count(*), count(*) FILTER (WHERE to_time IS NULL), max(detected_at)::text
FROM gaps GROUP BY source, cause ORDER BY source, cause;

-- name: unwritable
-- Those of these tables that the user may not write: names.
SELECT name FROM unnest(%s::text[]) AS name WHERE NOT has_table_privilege(to_regclass(name), 'INSERT');

-- name: may_create
-- Whether the user may make tables where they would go.
SELECT has_schema_privilege(current_schema(), 'CREATE');

-- name: last_instruments
-- What the table holds of every instrument: source, channel.
SELECT DISTINCT ON (symbol) symbol, type, base, quote, settle, tick_size, lot_size, contract_value, state, listed_at,
       expires_at
FROM instruments WHERE source = %s AND channel = %s ORDER BY symbol, time DESC;

-- name: insert_instrument
-- A change of an instrument: time, received_at, source, channel, symbol, and the columns of last_instruments.
INSERT INTO instruments (time, received_at, source, channel, symbol, type, base, quote, settle, tick_size, lot_size,
                         contract_value, state, listed_at, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s);
