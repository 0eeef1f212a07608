"""The terminal hears of every cycle that ends, once."""

import json
from pathlib import Path
from typing import Any

from ao_pipeline.supervisor.cycles import CycleWatch


def _line(cycle: str) -> str:
    return json.dumps({"cycle_id": cycle, "status": "success", "duration_ms": 1500}) + "\n"


def test_the_first_cycle_and_later_ones_are_told_once(tmp_path: Path) -> None:
    path = tmp_path / "cycles.jsonl"
    heard: list[tuple[str, Any]] = []
    watch = CycleWatch(path, lambda name, fields: heard.append((name, fields["cycle"])))

    watch.look()
    path.write_text(_line("2026-11-22-10:00"))
    watch.look()
    watch.look()
    with path.open("a") as stream:
        stream.write(_line("2026-11-22-10:15"))
    watch.look()

    assert heard == [("first cycle materialized", "2026-11-22-10:00"), ("cycle.finished", "2026-11-22-10:15")]


def test_what_ended_before_the_start_is_not_told_again(tmp_path: Path) -> None:
    path = tmp_path / "cycles.jsonl"
    path.write_text(_line("2026-11-22-10:00"))
    heard: list[str] = []

    CycleWatch(path, lambda name, _fields: heard.append(name)).look()

    assert heard == []


def test_a_rotated_journal_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "cycles.jsonl"
    path.write_text(_line("2026-11-22-10:00") * 3)
    heard: list[str] = []
    watch = CycleWatch(path, lambda _name, fields: heard.append(fields["cycle"]))

    path.write_text(_line("2026-11-22-10:15"))
    watch.look()

    assert heard == ["2026-11-22-10:15"]


def test_a_journal_that_a_power_cut_damaged_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "cycles.jsonl"
    heard: list[str] = []
    watch = CycleWatch(path, lambda _name, fields: heard.append(fields["cycle"]))

    path.write_bytes(b"\xff\x00\xfe\n7\n[1]\n" + _line("2026-11-22-10:15").encode())
    watch.look()

    assert heard == ["2026-11-22-10:15"]
