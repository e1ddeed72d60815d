#!/bin/sh
# Runs one SQL file in the server of the stack as its owner, as soon as the server lets him in.
#   as-owner.sh FILE.sql [NAME …]     NAME: passwords that the file needs besides POSTGRES_PASSWORD
# Each password is the value of its variable, or what the file named by NAME_FILE holds. Never prints one.
set -eu

stop() {
  printf '%s\n' "$1" >&2
  exit 78
}

# Export the password NAME, from where it is.
take() {
  eval "value=\${$1:-} file=\${$1_FILE:-}"
  if [ -n "$file" ]; then
    value=$(cat -- "$file" 2>/dev/null) ||
      stop "the file of $1_FILE cannot be read in the container by uid $(id -u): let everybody read it, in a directory that only you can enter"
  fi
  [ -n "$value" ] || stop "$1 is empty: put a password into .env, or into the file that $1_FILE names there"
  export "$1=$value"
}

sql=$1
shift
for name in POSTGRES_PASSWORD "$@"; do take "$name"; done

export PGHOST=database PGUSER=postgres PGDATABASE="$POSTGRES_DB" PGPASSWORD="$POSTGRES_PASSWORD" PGCONNECT_TIMEOUT=10
if ! said=$(psql --no-psqlrc --quiet --command '' 2>&1); then
  case $said in
    *"password authentication failed"*)
      stop "the database does not know this POSTGRES_PASSWORD: it keeps the one that it was made with; give that one, or change it there (docker compose exec database psql -U postgres -c '\\password')"
      ;;
    *) stop "$said" ;;
  esac
fi
exec psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --file "$sql"
