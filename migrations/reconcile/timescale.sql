-- What both editions of TimescaleDB get.

-- name: create_extension
-- Install the extension in this database.
create extension if not exists timescaledb;

-- name: plain_tables
-- Tables of this list that are no hypertables yet: names.
select t from unnest(%s::text[]) with ordinality u (t, n)
where not exists (
    select from timescaledb_information.hypertables h
    where h.hypertable_schema = current_schema() and h.hypertable_name = t)
order by n;

-- name: create_hypertable
-- Make a table a hypertable with chunks of a day, moving the rows it has: table.
select create_hypertable(
    %s::regclass, by_range('time', interval '1 day'), create_default_indexes => false, migrate_data => true);

-- name: is_current
-- Whether the objects below are there and those of a plain server are gone.
select to_regprocedure('recorder_drop_chunks(text, timestamptz)') is not null
   and to_regnamespace('recorder_plain') is null
   and exists (
       select from pg_proc p
       where p.oid = to_regprocedure('recorder_horizon(text)') and p.prosrc like '%timescaledb_information%');

-- name: objects
-- How far back `latest` looks, and chunk dropping for a role that owns no table: {schema}, {extension_schema}.
create or replace function recorder_horizon(tab text) returns timestamptz
language plpgsql stable
as $$
declare
    since timestamptz := date_trunc('day', now()) - interval '8 days';
    found_any boolean;
begin
    execute format('select exists (select from %I where time >= %L)', tab, since) into found_any;
    if not found_any then
        select coalesce(max(c.range_start) - interval '7 days', since) into since
        from timescaledb_information.chunks c
        where c.hypertable_schema = current_schema() and c.hypertable_name = tab;
    end if;
    return since;
end
$$;
create or replace function recorder_drop_chunks(tab text, older timestamptz) returns bigint
language plpgsql security definer set search_path = pg_catalog, {schema}, {extension_schema}, pg_temp
as $$
begin
    if tab <> all (array['trades', 'quotes', 'tickers', 'books', 'candles', 'funding_rates', 'open_interest',
                         'reference_prices', 'liquidations', 'messages']) then
        raise exception '% is no data table', tab;
    end if;
    return (select count(*) from drop_chunks(format('{schema}.%I', tab)::regclass, older_than => older));
end
$$;
revoke execute on function recorder_drop_chunks(text, timestamptz) from public;
drop schema if exists recorder_plain cascade;

-- name: has_our_search_path
-- Whether this database still has the search_path that a plain server got.
select exists (
    select from pg_db_role_setting s
    where s.setdatabase = (select d.oid from pg_database d where d.datname = current_database())
      and s.setrole = 0 and s.setconfig::text like '%search_path=%recorder_plain%');

-- name: reset_search_path
-- Take it back: {database}.
alter database {database} reset search_path;

-- name: may_drop_chunks
-- Whether a role may call recorder_drop_chunks: role.
select has_function_privilege(%s, 'recorder_drop_chunks(text, timestamptz)', 'EXECUTE');

-- name: grant_drop_chunks
-- Let a role drop old chunks: {role}.
grant execute on function recorder_drop_chunks(text, timestamptz) to {role};

-- name: create_index
-- Make the index of a hypertable, one transaction a chunk: {index}, {table}.
create index {index} on {table} (symbol, time desc) with (timescaledb.transaction_per_chunk);

-- name: drop_chunks
-- Drop the chunks of a table that are older than a time, and tell how many: table, time.
select recorder_drop_chunks(%s, %s);
