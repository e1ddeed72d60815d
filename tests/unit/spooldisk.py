"""A disk in memory that forgets, refuses and lies on request, as disks do.

Owns what is durable: bytes after a successful sync of their file, names after a sync of their directory. A failed
sync marks the pages clean without having written them, as Linux does: a second sync of the same file succeeds and
makes nothing durable.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Inode:
    """A file: what is in the page cache, and what a power cut leaves."""

    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    clean_but_lost: bool = False


Names = dict[str, Inode]


@dataclass(slots=True)
class Directory:
    """Names now, and as they were when the directory was last synced."""

    names: Names = field(default_factory=dict)
    durable: Names = field(default_factory=dict)


@dataclass(slots=True)
class Trouble:
    """The next call of `operation`, or the one `after` so many, fails with `code`; a write takes `taken` bytes
    before that."""

    operation: str
    code: int = errno.EIO
    taken: int = 0
    times: int = 1
    after: int = 0


class Disk:
    """`Files` in memory."""

    def __init__(self) -> None:
        self.directories: dict[Path, Directory] = {}
        self.troubles: list[Trouble] = []
        self.calls: list[str] = []
        self.bytes_read = 0
        self._open: dict[int, Inode] = {}
        self._next_fd = 100

    # --- what tests do to it ---

    def fail(self, operation: str, code: int = errno.EIO, *, taken: int = 0, times: int = 1, after: int = 0) -> None:
        """Have the next calls of an operation fail."""
        self.troubles.append(Trouble(operation, code, taken, times, after))

    def crash(self, keep: Callable[[int], int] = lambda most: 0) -> None:
        """Cut the power. `keep(most)` says how many of `most` unsynced bytes, or the one change of a name, survive."""
        inodes: dict[int, Inode] = {}
        for directory in self.directories.values():
            directory.names = _some_of(directory.durable, directory.names, keep)
            directory.durable = dict(directory.names)
            inodes |= {id(inode): inode for inode in directory.names.values()}
        for inode in inodes.values():
            self._forget(inode, keep)
        self.kill()

    def kill(self) -> None:
        """Kill the process: the kernel keeps what was written."""
        self._open.clear()
        self.troubles.clear()

    def files(self, directory: Path) -> dict[str, bytes]:
        """What is in a directory's files."""
        return {name: bytes(inode.data) for name, inode in sorted(self.directories[directory].names.items())}

    def flip(self, path: Path, bit: int) -> None:
        """Turn one bit, on the disk and in the cache."""
        inode = self.directories[path.parent].names[path.name]
        inode.data[bit // 8] ^= 1 << bit % 8
        if bit // 8 < len(inode.durable):
            inode.durable = bytes(inode.data[: len(inode.durable)])

    def put(self, path: Path, data: bytes) -> None:
        """A durable file."""
        self.make_directory(path.parent)
        directory = self.directories[path.parent]
        directory.names[path.name] = Inode(bytearray(data), data)
        directory.durable = dict(directory.names)

    @property
    def descriptors(self) -> int:
        """Files that are open."""
        return len(self._open)

    # --- Files ---

    def make_directory(self, path: Path) -> None:
        self._strike("make_directory")
        self.directories.setdefault(path, Directory())

    def names(self, directory: Path) -> list[str]:
        if directory not in self.directories:
            return [path.name for path in self.directories if path.parent == directory]
        below = [path.name for path in self.directories if path.parent == directory]
        return [*self.directories[directory].names, *below]

    def create(self, path: Path) -> int:
        self._strike("create")
        directory = self.directories[path.parent]
        if path.name in directory.names:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        directory.names[path.name] = Inode()
        return self._opened(directory.names[path.name])

    def open(self, path: Path) -> int:
        return self._opened(self._inode(path))

    def write(self, fd: int, data: bytes | memoryview) -> int:
        inode = self._open[fd]
        short = self._next_trouble("short")
        if short is not None:
            self._consume(short)
            taken = max(1, min(short.taken, len(data)))
            inode.data += data[:taken]
            return taken
        trouble = self._next_trouble("write")
        if trouble is None:
            inode.data += data
            return len(data)
        taken = min(trouble.taken, len(data) - 1)
        inode.data += data[:taken]
        if taken == 0:
            self._consume(trouble)
            raise OSError(trouble.code, os.strerror(trouble.code))
        trouble.taken = 0  # a short write first, the error at the next call
        return taken

    def read(self, fd: int, size: int, offset: int) -> bytes:
        self._strike("read")
        data = bytes(self._open[fd].data[offset : offset + size])
        self.bytes_read += len(data)
        return data

    def size(self, fd: int) -> int:
        return len(self._open[fd].data)

    def file_size(self, path: Path) -> int:
        return len(self._inode(path).data)

    def truncate(self, fd: int, size: int) -> None:
        self._strike("truncate")
        del self._open[fd].data[size:]

    def sync(self, fd: int) -> None:
        inode = self._open[fd]
        try:
            self._strike("sync")
        except OSError:
            inode.clean_but_lost = True
            raise
        if not inode.clean_but_lost:
            inode.durable = bytes(inode.data)

    def sync_directory(self, path: Path) -> None:
        self._strike("sync_directory")
        if path in self.directories:
            directory = self.directories[path]
            directory.durable = dict(directory.names)

    def rename(self, old: Path, new: Path) -> None:
        self._strike("rename")
        directory = self.directories[old.parent]
        directory.names[new.name] = directory.names.pop(old.name)

    def unlink(self, path: Path) -> None:
        self._strike("unlink")
        self._inode(path)
        del self.directories[path.parent].names[path.name]

    def close(self, fd: int) -> None:
        del self._open[fd]

    # --- inside ---

    def _inode(self, path: Path) -> Inode:
        try:
            return self.directories[path.parent].names[path.name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path)) from None

    def _opened(self, inode: Inode) -> int:
        self._next_fd += 1
        self._open[self._next_fd] = inode
        return self._next_fd

    def _next_trouble(self, operation: str) -> Trouble | None:
        self.calls.append(operation)
        trouble = next((t for t in self.troubles if t.operation == operation), None)
        if trouble is not None and trouble.after > 0:
            trouble.after -= 1
            return None
        return trouble

    def _consume(self, trouble: Trouble) -> None:
        trouble.times -= 1
        if trouble.times <= 0:
            self.troubles.remove(trouble)

    def _strike(self, operation: str) -> None:
        trouble = self._next_trouble(operation)
        if trouble is not None:
            self._consume(trouble)
            raise OSError(trouble.code, os.strerror(trouble.code))

    def _forget(self, inode: Inode, keep: Callable[[int], int]) -> None:
        """Of what was written since the last sync, a beginning survives."""
        kept = inode.durable
        if not inode.clean_but_lost and bytes(inode.data[: len(kept)]) == kept:
            kept += bytes(inode.data[len(kept) : len(kept) + keep(len(inode.data) - len(kept))])
        inode.data = bytearray(kept)
        inode.durable = kept
        inode.clean_but_lost = False


def _some_of(before: Names, after: Names, keep: Callable[[int], int]) -> Names:
    """What a power cut makes of names that changed since the last sync: each is in its old or its new state."""
    found = dict(before)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) is not after.get(name) and keep(1):
            found.pop(name, None)
            if name in after:
                found[name] = after[name]
    return found
