-- The database of the demo, beside the real one: simulated history never mixes into it.

select 'create database demo'
where not exists (select from pg_database where datname = 'demo')
\gexec
