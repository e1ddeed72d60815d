"""What the spool does to the disk, and nothing else.

Owns the list of operations (`Files`) and the real ones (`OsFiles`); tests put a lying disk in their place. Never
retries and never hides an `OSError`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """A disk. Everything may raise `OSError`; `write` may write less than it was given."""

    def make_directory(self, path: Path) -> None:
        """Create a directory that only we can enter; an existing one is fine."""
        ...

    def names(self, directory: Path) -> list[str]:
        """Names in a directory; none where there is no directory of that name."""
        ...

    def create(self, path: Path) -> int:
        """A new file, open for appending."""
        ...

    def open(self, path: Path) -> int:
        """An existing file, open for reading."""
        ...

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Append; returns how many bytes were taken."""
        ...

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""
        ...

    def size(self, fd: int) -> int:
        """Bytes in an open file."""
        ...

    def file_size(self, path: Path) -> int:
        """Bytes in a file by its name."""
        ...

    def truncate(self, fd: int, size: int) -> None:
        """Cut an open file."""
        ...

    def sync(self, fd: int) -> None:
        """fdatasync: what was written stays written."""
        ...

    def sync_directory(self, path: Path) -> None:
        """fsync of a directory: names made, moved and removed in it stay so."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Move a file, atomically, over `new` if that exists."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        ...

    def close(self, fd: int) -> None:
        """Close an open file."""
        ...


class OsFiles:
    """The real disk."""

    def make_directory(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)

    def names(self, directory: Path) -> list[str]:
        try:
            return [entry.name for entry in directory.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def create(self, path: Path) -> int:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        return os.write(fd, data)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def file_size(self, path: Path) -> int:
        return path.stat().st_size

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        old.replace(new)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def close(self, fd: int) -> None:
        os.close(fd)


def write_all(files: Files, fd: int, data: bytes) -> None:
    """Write all of `data`; a write that takes nothing is a full disk, not a reason to try for ever."""
    taken = files.write(fd, data)
    view = memoryview(data)
    while taken < len(data):
        more = files.write(fd, view[taken:])
        if more <= 0:
            raise OSError(28, "the disk takes no more bytes")
        taken += more


def put_file(files: Files, path: Path, data: bytes) -> None:
    """Make `path` hold `data`, all of it or nothing, whatever happens: temporary file, sync, rename, sync."""
    temporary = path.with_name(path.name + ".tmp")
    if temporary.name in files.names(path.parent):
        files.unlink(temporary)
    fd = files.create(temporary)
    try:
        write_all(files, fd, data)
        files.sync(fd)
    finally:
        files.close(fd)
    files.rename(temporary, path)
    files.sync_directory(path.parent)
