-- What every kind of server is asked and given at every `recorder migrate`. Each statement leaves a database that
-- already is as it should be untouched.

-- name: server
-- What this server is: version, installed and available extension, whether its library is loaded, its licence.
select
    current_setting('server_version_num')::int,
    (select e.extversion from pg_extension e where e.extname = 'timescaledb'),
    exists (select from pg_available_extensions a where a.name = 'timescaledb'),
    exists (select from pg_settings s where s.name = 'timescaledb.max_background_workers'),
    current_setting('timescaledb.license', true),
    current_schema(),
    coalesce((select n.nspname from pg_extension e join pg_namespace n on n.oid = e.extnamespace
              where e.extname = 'timescaledb'), current_schema());

-- name: has_bookkeeping
-- Whether schema_migrations is there, and how many other tables are.
select
    to_regclass('schema_migrations') is not null,
    (select count(*) from pg_class c
     where c.relnamespace = (select current_schema()::regnamespace) and c.relkind in ('r', 'p')
       and c.relname <> 'schema_migrations');

-- name: applied
-- Numbers of the migrations that this database has.
select number from schema_migrations order by number;

-- name: record
-- Note a migration as applied: number, name.
insert into schema_migrations (number, name) values (%s, %s);

-- name: lock
-- Wait until no other migration runs in this database; the number is ours alone ("recorder" in ASCII, shortened).
select pg_advisory_lock(491327415410);

-- name: unlock
-- Let the next one migrate.
select pg_advisory_unlock(491327415410);

-- name: lock_timeout
-- How long a statement of this transaction may wait for a lock: text such as 2s.
select set_config('lock_timeout', %s, true);

-- name: session_lock_timeout
-- How long a statement of this session may wait for a lock: text such as 2s.
select set_config('lock_timeout', %s, false);

-- name: create_role
-- Make a group role unless somebody else just did: {role}.
create role {role} nologin;

-- name: missing_roles
-- Which of these group roles the server lacks: list of names.
select r from unnest(%s::text[]) r where not exists (select from pg_roles p where p.rolname = r) order by r;

-- name: unreadable
-- Which of these tables and views a role may not read: role, tables.
select c.relname
from pg_class c
where c.relnamespace = (select current_schema()::regnamespace) and c.relkind in ('r', 'p', 'v')
  and c.relname = any (%(tables)s::text[])
  and not has_table_privilege(%(role)s, c.oid, 'SELECT')
order by c.relname;

-- name: unwritable
-- Which of these tables a role may not write: role, tables.
select c.relname
from pg_class c
where c.relnamespace = (select current_schema()::regnamespace) and c.relkind in ('r', 'p')
  and c.relname = any (%(tables)s::text[])
  and not (has_table_privilege(%(role)s, c.oid, 'SELECT') and has_table_privilege(%(role)s, c.oid, 'INSERT')
           and has_table_privilege(%(role)s, c.oid, 'UPDATE') and has_table_privilege(%(role)s, c.oid, 'DELETE'))
order by c.relname;

-- name: grant_read
-- Let a role read a table or view: {table}, {role}.
grant select on {table} to {role};

-- name: grant_write
-- Let a role read and write a table, but neither drop nor truncate it: {table}, {role}.
grant select, insert, update, delete on {table} to {role};

-- name: has_schema_usage
-- Whether a role may look into the schema: role.
select has_schema_privilege(%s, current_schema(), 'USAGE');

-- name: grant_schema
-- Let a role look into the schema: {schema}, {role}.
grant usage on schema {schema} to {role};

-- name: missing_indexes
-- Data tables of this list without a valid index on (symbol, time desc): names of tables.
select t from unnest(%s::text[]) t
where not exists (
    select from pg_index i
    where i.indexrelid = to_regclass(quote_ident(t || '_symbol_time')) and i.indisvalid
      and i.indrelid = to_regclass(quote_ident(t)))
order by t;

-- name: drop_index
-- Drop what an interrupted build left: {index}.
drop index if exists {index};

-- name: create_index
-- Make the index of a table: {index}, {table}.
create index {index} on {table} (symbol, time desc);
