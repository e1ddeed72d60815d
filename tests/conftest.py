"""What every test can ask for. Each subject has its own plugin under `tests/fixtures`."""

pytest_plugins = ["tests.fixtures.server", "tests.fixtures.database", "tests.fixtures.prometheus"]
