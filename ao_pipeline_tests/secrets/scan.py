"""Search bytes, files, databases and process lists for secrets, unpacking what is packed."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from ao_pipeline.settings import PROJECT_DIR, child_environment

_CHILD_SECONDS = 240


@dataclass
class Scan:
    """One search for a fixed set of patterns."""

    patterns: dict[bytes, str]
    searched_bytes: int = 0
    unpacked: int = 0
    _expression: re.Pattern[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._expression = re.compile(b"|".join(re.escape(form) for form in self.patterns))

    def data(self, data: bytes, place: str) -> list[str]:
        """Return a line per secret in these bytes or in what they unpack to."""
        self.searched_bytes += len(data)
        found = {f"{self.patterns[match.group()]} in {place}" for match in self._expression.finditer(data)}
        found |= set(self.packed(data, place))
        return sorted(found)

    def folder(self, folder: Path) -> list[str]:
        """Search every file below a folder, SQLite databases cell by cell too."""
        found: list[str] = []
        # Read before the first database is opened: closing the last connection to one deletes its -shm and -wal files.
        contents = [(path, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]
        for path, data in contents:
            place = str(path.relative_to(folder))
            found += self.data(data, place) + self.data(place.encode(), f"the name of {place}")
            if data.startswith(b"SQLite format 3"):
                found += self.database(path, place)
        return found

    def database(self, path: Path, place: str) -> list[str]:
        """Search every cell: a row in the file may be cut by page borders, and a packed one cannot be seen from outside."""
        found: list[str] = []
        connection = sqlite3.connect(path)
        connection.text_factory = bytes
        try:
            tables = [
                name.decode() for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
            ]
            for table in tables:
                for row in connection.execute(f'SELECT * FROM "{table}"'):
                    cells = b"\0".join(cell for cell in row if isinstance(cell, bytes))
                    found += self.data(cells, f"{place}, table {table}")
                    found += [
                        line
                        for cell in row
                        if isinstance(cell, bytes)
                        for line in self.packed(cell, f"{place}, {table}")
                    ]
        finally:
            connection.close()
        return sorted(set(found))

    def packed(self, data: bytes, place: str) -> list[str]:
        """Search only what these bytes unpack to."""
        found: list[str] = []
        for layer in _unpacked(data):
            self.unpacked += 1
            found += self.data(layer, f"{place}, unpacked")
        return found


def _unpacked(data: bytes) -> Iterator[bytes]:
    if data[8:12] == b"\x28\xb5\x2f\xfd":  # A bundle's payload: its length, then a zstd frame.
        yield pa.Codec("zstd").decompress(data[8:], decompressed_size=int.from_bytes(data[:8], "little")).to_pybytes()
    if data[:2] in (b"\x78\x01", b"\x78\x9c", b"\x78\xda"):
        try:
            yield zlib.decompress(data)
        except zlib.error:
            return


@dataclass(frozen=True)
class Ended:
    """A child that ended: what it said, and every command line that it and its children had."""

    code: int
    output: bytes
    command_lines: bytes


def run_child(*arguments: str, **variables: str) -> Ended:
    """Run a Python child to its end, looking at the process list all the while."""
    with watched(*arguments, **variables) as child:
        child.wait()
    return child.ended()


@dataclass
class Watched:
    """A running child."""

    process: subprocess.Popen[bytes]
    command_lines: set[bytes] = field(default_factory=set)
    output: bytes = b""

    def __enter__(self) -> Watched:
        self.look()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.output += self.process.communicate(timeout=20)[0]

    def look(self) -> None:
        """Note the command line of the child and of all its children."""
        try:
            family = [psutil.Process(self.process.pid)]
            family += family[0].children(recursive=True)
        except psutil.NoSuchProcess:
            return
        for member in family:
            try:
                self.command_lines.add(Path(f"/proc/{member.pid}/cmdline").read_bytes())
            except OSError:
                continue

    def wait_for(self, word: bytes) -> None:
        """Read its output up to the line that holds `word`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if word in line:
                self.look()
                return
        raise EOFError(f"the child ended without saying {word.decode()}: {self.output.decode()}")

    def wait(self) -> None:
        """Wait for the end, looking ten times a second."""
        for _ in range(_CHILD_SECONDS * 10):
            self.look()
            try:
                self.output += self.process.communicate(timeout=0.1)[0]
            except subprocess.TimeoutExpired:
                continue
            return
        raise TimeoutError(f"the child did not end within {_CHILD_SECONDS} s")

    def ended(self) -> Ended:
        """Return what is known at the end."""
        return Ended(self.process.returncode, self.output, b"\n".join(sorted(self.command_lines)))


def watched(*arguments: str, **variables: str) -> Watched:
    """Start a Python child; leaving its block ends it."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=PROJECT_DIR,
        env=child_environment(**variables),
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return Watched(process)
