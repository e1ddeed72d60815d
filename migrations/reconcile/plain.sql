-- What a plain PostgreSQL gets in place of what TimescaleDB would bring.

-- name: is_current
-- Whether the objects below are there.
select to_regprocedure('recorder_plain.time_bucket(interval, timestamptz)') is not null
   and to_regprocedure('recorder_horizon(text)') is not null;

-- name: objects
-- time_bucket in a schema of its own (in public it would make CREATE EXTENSION fail), and a horizon that never ends.
create schema if not exists recorder_plain;
create or replace function recorder_plain.time_bucket(width interval, at timestamptz) returns timestamptz
language sql immutable parallel safe
as $$ select {schema}.recorder_bucket(width, at) $$;
grant usage on schema recorder_plain to public;
create or replace function recorder_horizon(tab text) returns timestamptz
language sql immutable parallel safe
as $$ select timestamptz '-infinity' $$;

-- name: search_path_is_ours_to_set
-- Whether nobody has given this database a search_path, and this session would not find time_bucket.
select not exists (
    select from pg_db_role_setting s
    where s.setdatabase = (select d.oid from pg_database d where d.datname = current_database())
      and s.setconfig::text like '%search_path=%');

-- name: set_search_path
-- Let sessions of this database find time_bucket after everything else: {database}, {schema}.
alter database {database} set search_path = "$user", {schema}, recorder_plain;

-- name: symbols_before
-- Symbols of a table with records older than a time, by skipping through the index: {table}, time.
with recursive symbols (symbol) as (
    (select t.symbol from {table} t order by t.symbol limit 1)
    union all
    select (select t.symbol from {table} t where t.symbol > s.symbol order by t.symbol limit 1)
    from symbols s where s.symbol is not null
)
select s.symbol from symbols s
where exists (select from {table} t where t.symbol = s.symbol and t.time < %s);

-- name: delete_before
-- Delete at most so many of a symbol's records older than a time, through the index: {table}, symbol, time, rows.
delete from {table} where ctid = any (array(
    select t.ctid from {table} t where t.symbol = %s and t.time < %s order by t.time desc limit %s));
