"""Records market data from WebSocket venues into TimescaleDB."""

__version__ = "0.1.0"
