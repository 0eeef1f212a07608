"""Hold the write lock of a SQLite file from another process until told to let go: `python -m … <file>`."""

from __future__ import annotations

import sqlite3
import sys


def main() -> None:
    """Lock, say so, wait, unlock."""
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    print("locked", flush=True)
    sys.stdin.readline()
    connection.execute("ROLLBACK")


if __name__ == "__main__":
    main()
