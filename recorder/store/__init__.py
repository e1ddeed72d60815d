"""Queue → hypertable: the writer, the sink, the schema and the local server."""
