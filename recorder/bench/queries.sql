-- What the benchmark alone asks of the server. Format as in recorder/store/queries.sql.

-- name: create_scratch
-- A database of the benchmark's own; its name is put in as an identifier.
CREATE DATABASE {};

-- name: drop_scratch
-- The end of it, whoever is still connected.
DROP DATABASE IF EXISTS {} WITH (FORCE);

-- name: facts
-- What decides the figures: version, edition, and how durable a commit is.
SELECT current_setting('server_version'),
       coalesce((SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'), ''),
       coalesce(current_setting('timescaledb.license', true), ''),
       current_setting('fsync'), current_setting('synchronous_commit');

-- name: writer_backend
-- The server process of the recorder's writer in this database.
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'recorder/%' ORDER BY backend_start DESC LIMIT 1;

-- name: checkpoint
-- So that no round pays for the dirty pages of the one before.
CHECKPOINT;

-- name: empty
-- Every round begins with empty tables: an index that grows would favour whoever comes first.
TRUNCATE trades, tickers, books;

-- name: read_trades
-- The rows as COPY lines, in the order in which they were stored.
COPY (SELECT * FROM trades) TO STDOUT;

-- name: read_tickers
-- The rows as COPY lines.
COPY (SELECT * FROM tickers) TO STDOUT;

-- name: read_books
-- The rows as COPY lines.
COPY (SELECT * FROM books) TO STDOUT;

-- name: bare_table
-- For the bare commit: the smallest durable change there is.
CREATE TABLE IF NOT EXISTS bench_bare (n bigint);

-- name: bare_insert
-- One row; what a commit of this server costs with nothing in it.
INSERT INTO bench_bare VALUES (1);
