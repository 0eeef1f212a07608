"""Is the process behind a run alive, dead or hung? What is seen of it decides, never how long the run takes.

Invariants:
1. A run whose beat is fresh is left alone, however long it takes (`test_a_slow_run_that_beats_is_left_alone`).
2. A silent process that computes or waits for its disk is left alone (`test_a_silent_run_that_computes_is_left_alone`).
3. A run of another machine is left to that machine (`test_a_run_on_another_host_is_left_to_that_host`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Seen = Literal["running", "waiting for disk", "stopped", "traced", "gone", "unseen"]
"""`unseen`: the process cannot be looked at from here."""


RECOVERY_KINDS: Final = (
    *("process_gone", "process_stopped", "process_silent"),
    *("stuck_starting", "stuck_canceling", "stuck_not_started", "stuck_queued"),
    *("retry_lost", "slot_leaked"),
)
"""Everything that is recovered; labels of a metric, so that a first one shows as an increase from 0."""


@dataclass(frozen=True)
class RunPolicy:
    """Limits in seconds.

    Attributes:
        silent: Age of the newest beat from which a process that does nothing counts as hung.
        stopped: The same for one that a signal has stopped: it cannot go on by itself.
        unseen: The same for one that cannot be looked at, in another container of this machine.
        unstarted: Time in STARTING without a process.
        canceling: Time in CANCELING.
        unsubmitted: Time between being created and being queued.
        queued: Time in the queue while nothing runs.
        lost_retry: Time after which a retry that nobody has started counts as lost.
        leaked: Time for which an ended run may still hold a pool's slot.
        report: The code server's turn: it reports the death of a process of its own within a second, and knows the exit code.
    """

    silent: float = 25.0
    stopped: float = 8.0
    unseen: float = 60.0
    unstarted: float = 45.0
    canceling: float = 30.0
    unsubmitted: float = 45.0
    queued: float = 900.0
    lost_retry: float = 15.0
    leaked: float = 10.0
    report: float = 3.0


RUN_POLICY = RunPolicy()


@dataclass(frozen=True)
class Worker:
    """What is known of the process behind a run.

    Attributes:
        is_here: Whether it belongs to this machine.
        seen: What the kernel says.
        beat_age: Seconds since its last sign of life; since it was first looked at when it has left none.
        is_computing: Whether it used the processor while it was watched; only known, and only needed, when it is silent.
    """

    is_here: bool
    seen: Seen
    beat_age: float
    is_computing: bool = False


@dataclass(frozen=True)
class Verdict:
    """Why a run has to be ended. `must_kill` when a process has to be ended first."""

    kind: str
    reason: str
    must_kill: bool


def is_suspect(worker: Worker, policy: RunPolicy = RUN_POLICY) -> bool:
    """Tell whether it is worth watching if the process computes."""
    return worker.is_here and worker.seen == "running" and worker.beat_age > policy.silent


def judge_worker(worker: Worker, policy: RunPolicy = RUN_POLICY) -> Verdict | None:
    """Return why the run behind this process is over, None when it may go on."""
    if not worker.is_here:
        return None
    age = "for ever" if worker.beat_age == float("inf") else f"for {worker.beat_age:.0f} s"
    if worker.seen == "gone":
        return Verdict("process_gone", "its process is gone", must_kill=False)
    if worker.seen == "unseen":
        if worker.beat_age <= policy.unseen:
            return None
        return Verdict("process_silent", f"its process, in another container, has been silent {age}", must_kill=False)
    if worker.seen == "stopped" and worker.beat_age > policy.stopped:
        return Verdict("process_stopped", f"its process is stopped and has been silent {age}", must_kill=True)
    if is_suspect(worker, policy) and not worker.is_computing:
        return Verdict("process_silent", f"its process hangs: silent {age} and computing nothing", must_kill=True)
    return None


def judge_waiting(status: str, seconds: float, *, is_alone: bool, policy: RunPolicy = RUN_POLICY) -> Verdict | None:
    """Return why a run that no process works on is over, None when it may wait on.

    Args:
        status: Dagster's, upper case.
        seconds: For how long it has been seen in that status.
        is_alone: Whether nothing else runs, so that there is nothing to wait for.
    """
    limits = {
        "STARTING": policy.unstarted,
        "CANCELING": policy.canceling,
        "NOT_STARTED": policy.unsubmitted,
        "QUEUED": policy.queued,
    }
    limit = limits.get(status)
    if limit is None or seconds <= limit or (status == "QUEUED" and not is_alone):
        return None
    return Verdict(f"stuck_{status.lower()}", f"it was {status} for {seconds:.0f} s", must_kill=False)
