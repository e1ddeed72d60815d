"""What every test can ask for. Each subject has its own plugin under `tests/fixtures`."""

import pytest

from recorder import redact

pytest_plugins = ["tests.fixtures.server", "tests.fixtures.database", "tests.fixtures.prometheus"]


@pytest.fixture(autouse=True)
def nothing_secret_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test protects is an ordinary word to the next: a password `secret` would blank out file names."""
    monkeypatch.setattr(redact, "_redactor", redact.Redactor())
