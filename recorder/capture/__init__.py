"""Socket → spool → queue: what must never wait for the database."""
