"""Sources that are down together: a few cases here, all 160 in `make stress-sources`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_every_cycle_publishes_says_what_is_stale_and_sends_what_it_must(tmp_path: Path) -> None:
    report = tmp_path / "report.json"

    # A process of its own: it declares the assets without the pause before a step's second try.
    command = [sys.executable, "-m", "ao_pipeline_tests.stress.sources_down", "--sample", "4", "--seed", "7"]
    done = subprocess.run([*command, "--report", str(report)], capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(report.read_text())
    assert (found["cases"], found["wrong"], found["stale_shown_as_fresh"]) == (4, {}, 0)
