-- What a local server of our own needs before it can be migrated.

-- name: data_directory
-- Where the server that answers keeps its data: tells ours from a stranger on the same port.
select current_setting('data_directory');

-- name: has_login
-- Whether a role is there: role.
select exists (select from pg_roles where rolname = %s);

-- name: create_login
-- Make the role that the recorder connects as: {role}.
create role {role} login;

-- name: set_password
-- Give a role its password, already hashed: {role}, {password}.
alter role {role} password {password};

-- name: join_group
-- Let a role do what a group role may: {role}, {group}.
grant {group} to {role};

-- name: has_database
-- Whether a database is there: name.
select exists (select from pg_database where datname = %s);

-- name: create_database
-- Make a database, owned by who asks: {database}.
create database {database};
