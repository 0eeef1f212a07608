"""The process behind a run, seen through its beat and the kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ao_pipeline import clock
from ao_pipeline.adapters import processes
from ao_pipeline.adapters.run_beats import Beat, read_beat
from ao_pipeline.resilience.run_recovery import RUN_POLICY, RunPolicy, Worker, is_suspect

WATCH_SECONDS: Final = 1.0
"""How long a silent process is watched for computing."""


def observe(data_path: Path, beat: Beat, *, policy: RunPolicy = RUN_POLICY) -> Worker:
    """Return what is known of the process that left a beat; watches a silent one for a second."""
    if not beat.is_of_this_host:
        return Worker(is_here=False, seen="unseen", beat_age=0.0)
    if not beat.is_of_this_boot:
        return Worker(is_here=True, seen="gone", beat_age=beat.age_seconds)
    if not beat.is_of_this_namespace:
        return Worker(is_here=True, seen="unseen", beat_age=beat.age_seconds)
    seen = processes.state_of(beat.pid, started=beat.started)
    worker = Worker(is_here=True, seen=seen.value, beat_age=beat.age_seconds)
    if not is_suspect(worker, policy):
        return worker
    used = processes.cpu_seconds(beat.pid)
    clock.sleep(WATCH_SECONDS)
    newest = read_beat(data_path, beat.subject) or beat
    is_computing = processes.cpu_seconds(beat.pid) > used
    return Worker(is_here=True, seen=seen.value, beat_age=newest.age_seconds, is_computing=is_computing)
