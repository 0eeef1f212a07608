"""Stand between SQLite and its files: every write and every fsync of this process becomes a boundary, and power can be cut.

SQLite reaches files through a table of functions (`sqlite3_vfs`, `sqlite3_io_methods`: https://sqlite.org/vfs.html). The table of the
library that Python itself uses is changed in place, so what passes here is what the engine really does; nothing is simulated
but the loss of power. A Python whose SQLite is linked into it has no such table to reach: then `watch_files` says so.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import random
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_char, c_char_p, c_int, c_int64, c_void_p
from dataclasses import dataclass
from typing import Any, ClassVar, Final

OK: Final = 0
_KINDS: Final = {0x100: "database", 0x80000: "log"}
"""`SQLITE_OPEN_MAIN_DB` and `SQLITE_OPEN_WAL`, https://sqlite.org/c3ref/c_open_autoproxy.html."""

# The name goes through as an address: SQLite keeps it, so it must not become a Python value on the way.
_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
_CLOSE = CFUNCTYPE(c_int, c_void_p)
_MOVE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_SIZE = CFUNCTYPE(c_int, c_void_p, POINTER(c_int64))
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(ctypes.Structure):
    _fields_: ClassVar = [
        ("version", c_int),
        ("file_size", c_int),
        ("path_size", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", c_void_p),
    ]


class _Methods(ctypes.Structure):
    _fields_: ClassVar = [
        ("version", c_int),
        ("close", c_void_p),
        ("read", c_void_p),
        ("write", c_void_p),
        ("truncate", c_void_p),
        ("sync", c_void_p),
        ("size", c_void_p),
        ("others", c_void_p * 12),
    ]


@dataclass(frozen=True)
class _Unsynced:
    """A write or truncation that the disk may not have yet, with what it replaced."""

    file: int
    offset: int
    old: bytes
    size: int
    lost: int


class FileWatch:
    """Calls `boundary` before and after each fsync, before and half-way through each write, of the database and its log."""

    def __init__(self, boundary: Callable[[str], None]) -> None:
        self._boundary = boundary
        self._unsynced: list[_Unsynced] = []
        self._kind: dict[int, str] = {}
        self._tables: dict[int, _Methods] = {}
        self._originals: dict[int, int] = {}
        library = ctypes.CDLL(_sqlite3.__file__)
        find = library.sqlite3_vfs_find
        find.restype, find.argtypes = POINTER(_Vfs), [c_char_p]
        self._vfs = find(None).contents
        self._open_file = _OPEN(self._vfs.open)
        self._callbacks: list[Any] = [
            _OPEN(self._open),
            _MOVE(self._write),
            _TRUNCATE(self._truncate),
            _SYNC(self._sync),
        ]
        self._vfs.open = ctypes.cast(self._callbacks[0], c_void_p)
        self.syncs = 0

    def cut_power(self, draw: random.Random) -> None:
        """Lose what no fsync has brought to the disk: all of it, or some of it, for a disk writes in any order."""
        share = draw.choice([1.0, 0.5])
        for write in reversed(self._unsynced):
            if draw.random() < share:
                self._put_back(write)
        self._unsynced.clear()

    def _put_back(self, write: _Unsynced) -> None:
        put = _MOVE(self._original(write.file).write)
        put(write.file, write.old, len(write.old), write.offset)
        if write.lost:  # The file had not been as long: what is left of it reads as zeros, or it ends where it did.
            put(write.file, bytes(write.lost), write.lost, write.size)
            if self._size(write.file) == write.size + write.lost:
                _TRUNCATE(self._original(write.file).truncate)(write.file, write.size)

    def _open(self, vfs: int, name: int, file: int, flags: int, out: Any) -> int:
        code = int(self._open_file(vfs, name, file, flags, out))
        kind = next((kind for flag, kind in _KINDS.items() if flags & flag), "")
        if code == OK and kind:
            slot = ctypes.cast(file, POINTER(c_void_p))
            original = int(slot[0] or 0)
            if original not in self._tables:
                copy = _Methods.from_buffer_copy(_Methods.from_address(original))
                write, truncate, sync = (ctypes.cast(callback, c_void_p) for callback in self._callbacks[1:])
                copy.write, copy.truncate, copy.sync = write.value, truncate.value, sync.value
                self._tables[original] = copy
            self._kind[file] = kind
            self._originals[file] = original
            slot[0] = ctypes.addressof(self._tables[original])
        return code

    def _original(self, file: int) -> _Methods:
        return _Methods.from_address(self._originals[file])

    def _size(self, file: int) -> int:
        size = c_int64()
        _SIZE(self._original(file).size)(file, ctypes.byref(size))
        return size.value

    def _remember(self, file: int, offset: int, length: int, *, is_cut: bool = False) -> None:
        size = self._size(file)
        kept = max(min(length, size - offset), 0)
        old = (c_char * max(kept, 1))()
        _MOVE(self._original(file).read)(file, old, kept, offset)
        lost = 0 if is_cut else max(offset + length - max(size, offset), 0)
        self._unsynced.append(_Unsynced(file, offset, old.raw[:kept], max(size, offset), lost))

    def _write(self, file: int, data: int, length: int, offset: int) -> int:
        kind, put = self._kind[file], _MOVE(self._original(file).write)
        self._boundary(f"before a write to the {kind}")
        self._remember(file, offset, length)
        code = int(put(file, data, length // 2, offset))
        self._boundary(f"half-way through a write to the {kind}")
        return code or int(put(file, data, length, offset))

    def _truncate(self, file: int, size: int) -> int:
        self._boundary(f"before a truncation of the {self._kind[file]}")
        self._remember(file, size, max(self._size(file) - size, 0), is_cut=True)
        return int(_TRUNCATE(self._original(file).truncate)(file, size))

    def _sync(self, file: int, flags: int) -> int:
        kind = self._kind[file]
        self._boundary(f"before fsync of the {kind}")
        code = int(_SYNC(self._original(file).sync)(file, flags))
        self.syncs += 1
        self._unsynced = [write for write in self._unsynced if write.file != file]
        self._boundary(f"after fsync of the {kind}")
        return code


def can_watch_files() -> bool:
    """Tell whether the SQLite of this Python can be reached."""
    return hasattr(ctypes.CDLL(_sqlite3.__file__), "sqlite3_vfs_find")


def watch_files(boundary: Callable[[str], None]) -> FileWatch | None:
    """Watch every SQLite database that this process opens from now on; None when its SQLite cannot be reached."""
    return FileWatch(boundary) if can_watch_files() else None
