"""Venues we can run ourselves: for the demo, the tests and replay."""
