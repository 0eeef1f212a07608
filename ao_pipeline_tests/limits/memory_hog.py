"""Ask for memory in every way that a step may, under a limit, in a process of its own, which prints JSON."""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ao_pipeline.adapters.step_memory import limited_memory
from ao_pipeline.errors import ResourceLimitError

LIMIT_MIB = 128


def resident_mib() -> int:
    """Return what the process holds in memory."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * 4096 // 2**20


def left_mib(before: int) -> int:
    """Return what is still held; Arrow's threads may take a moment to let go of what failed."""
    for _ in range(30):
        if resident_mib() - before < LIMIT_MIB // 8:
            break
        threading.Event().wait(0.1)
        pa.default_memory_pool().release_unused()
    return resident_mib() - before


def numpy_arrays(kept: list[Any]) -> None:
    while True:
        kept.append(np.ones(2**18))


def one_huge_array(kept: list[Any]) -> None:
    kept.append(np.ones(2**28))


def arrow_tables(kept: list[Any]) -> None:
    while True:
        kept.append(pa.array(np.arange(2**17)).cast(pa.string()))


def arrow_join(_kept: list[Any]) -> None:
    table = pa.table({"key": np.zeros(2**13, dtype="int64"), "value": np.arange(2**13)})
    table.join(table, keys="key", right_suffix="_right")


def pandas_frames(_kept: list[Any]) -> None:
    frame = pd.DataFrame({"number": np.arange(2**18), "text": [f"text {n}" for n in range(2**18)]})
    while True:
        frame = pd.concat([frame, frame])


def python_lists(kept: list[Any]) -> None:
    while True:
        kept.append([None] * 10_000)


def small_objects(kept: list[Any]) -> None:
    number = 0
    while True:
        number += 1
        kept.append(f"{number:050}")


def parsed_json(kept: list[Any]) -> None:
    text = "[" + ",".join(f'{{"name":"{number}"}}' for number in range(50_000)) + "]"
    while True:
        kept.append(json.loads(text))


def sqlite_rows(kept: list[Any]) -> None:
    connection = sqlite3.connect(":memory:")
    kept.append(connection)
    connection.execute("CREATE TABLE t (a)")
    while True:
        connection.executemany("INSERT INTO t VALUES (?)", [("y" * 1000,)] * 1000)


def threads(_kept: list[Any]) -> None:
    may_end = threading.Event()
    started: list[threading.Thread] = []
    try:
        while True:
            thread = threading.Thread(target=may_end.wait)
            thread.start()
            started.append(thread)
    finally:
        may_end.set()
        for thread in started:
            thread.join()


KINDS: dict[str, Callable[[list[Any]], None]] = {
    call.__name__: call
    for call in (
        *(numpy_arrays, one_huge_array, arrow_tables, arrow_join, pandas_frames),
        *(python_lists, small_objects, parsed_json, sqlite_rows, threads),
    )
}


def fill(kind: str, before: int, peaks: list[int]) -> None:
    """Take memory until it is refused; whatever was taken hangs on this frame."""
    kept: list[Any] = []
    try:
        KINDS[kind](kept)
    finally:
        peaks.append(resident_mib() - before)


def main() -> None:
    """Run into the limit, then work on; print what happened."""
    pa.table({"warm": np.arange(10)}).join(pa.table({"warm": np.arange(10)}), keys="warm")
    before = resident_mib()
    peaks: list[int] = []
    error, details = "", {}
    try:
        with limited_memory("truth/hog", mib=LIMIT_MIB, setting="AO_STEP_MEMORY_MIB", warn=print):
            fill(sys.argv[1], before, peaks)
    except ResourceLimitError as refused:
        error, details = str(refused), refused.details
    after = left_mib(before)
    with limited_memory("truth/next", mib=LIMIT_MIB, setting="AO_STEP_MEMORY_MIB", warn=print):
        next_step = len(np.ones(2**20)) + pa.array(range(10_000)).nbytes  # What comes after it has its own allowance.
    print(
        json.dumps(
            {"error": error, "details": details, "peak": max(peaks, default=0), "after": after, "next": next_step}
        )
    )
