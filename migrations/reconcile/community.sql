-- What the Community edition gets beside that: columnstore and policies. The older spelling of the columnstore's
-- options and functions is used because it works from 2.11 up to today.

-- name: rowstore_tables
-- Hypertables of this list whose columnstore is off: names.
select h.hypertable_name from timescaledb_information.hypertables h
where h.hypertable_schema = current_schema() and h.hypertable_name = any (%s) and not h.compression_enabled
order by h.hypertable_name;

-- name: enable_columnstore
-- Let chunks of a table be converted to columns: {table}, {order_by}.
alter table {table} set (
    timescaledb.compress, timescaledb.compress_segmentby = 'source, channel, symbol',
    timescaledb.compress_orderby = {order_by});

-- name: policies
-- Policies of one kind as (table, seconds): policy_compression and compress_after, or policy_retention and drop_after.
select j.hypertable_name, extract(epoch from (j.config ->> %(key)s)::interval)::float8
from timescaledb_information.jobs j
where j.proc_name = %(kind)s and j.hypertable_schema = current_schema();

-- name: add_compression
-- Convert chunks to columns when they are this old: table, seconds.
select add_compression_policy(%s::regclass, compress_after => make_interval(secs => %s), if_not_exists => true);

-- name: remove_compression
-- Never convert again: table.
select remove_compression_policy(%s::regclass, if_exists => true);

-- name: add_retention
-- Drop chunks when they are this old; it does so at once, so it comes last of all: table, seconds.
select add_retention_policy(%s::regclass, drop_after => make_interval(secs => %s), if_not_exists => true);

-- name: remove_retention
-- Keep for ever: table.
select remove_retention_policy(%s::regclass, if_exists => true);
