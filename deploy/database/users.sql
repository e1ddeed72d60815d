-- The logins of the stack, with the passwords that are in force now. What they may do follows from their groups, whose
-- rights `recorder migrate` keeps: recorder_write changes rows and drops nothing, recorder_read only reads.

\getenv recorder RECORDER_DATABASE_PASSWORD
\getenv grafana GRAFANA_DATABASE_PASSWORD

select format('create role %I nologin', role)
from unnest(array['recorder_write', 'recorder_read', 'recorder', 'grafana']) role
where not exists (select from pg_roles where rolname = role)
\gexec

alter role recorder login password :'recorder';
alter role grafana login password :'grafana' connection limit 20;
-- A dashboard asks for minutes, not for hours; one that asks for too much must not keep the writer waiting.
alter role grafana set statement_timeout = '60s';
alter role grafana set default_transaction_read_only = on;
grant recorder_write to recorder;
grant recorder_read to grafana;
