"""Certificates of our own servers."""

import builtins
import shutil
import socket
import ssl
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from recorder.errors import RecorderError
from recorder.simulator.selfsigned import self_signed


@pytest.fixture(params=["library", "openssl"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of making one; without the library it has to be the program."""
    if request.param == "openssl":
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl program here")
        without_library(monkeypatch)
    return str(request.param)


def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_who_trusts_it_can_connect(tmp_path: Path, way: str, name: str) -> None:
    """The certificate is its own authority, and valid for the loopback by name and by address."""
    certificate, key = self_signed(tmp_path / "made")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=lambda: server.wrap_socket(theirs, server_side=True).close())
    thread.start()
    client = ssl.create_default_context(cafile=certificate)
    with client.wrap_socket(ours, server_hostname=name) as connection:
        assert connection.version() is not None
    thread.join()


def test_the_key_is_private_and_kept(tmp_path: Path, way: str) -> None:
    """Nobody else can read the key; a second call gives the same pair."""
    certificate, key = self_signed(tmp_path)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = certificate.read_bytes(), key.read_bytes()
    assert self_signed(tmp_path) == (certificate, key)
    assert (certificate.read_bytes(), key.read_bytes()) == before


def test_without_any_way_it_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user learns what to install."""
    without_library(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecorderError, match="install the Python package cryptography, or the openssl program"):
        self_signed(tmp_path / "none")
