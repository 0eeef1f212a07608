"""One process over its lives: started, probed, judged, ended and started again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from ao_pipeline.adapters.processes import is_stopped
from ao_pipeline.supervisor.output import LogFile, OutputReader
from ao_pipeline.supervisor.probes import PROBE_SECONDS, Verdict
from ao_pipeline.supervisor.specs import ProcessSpec

OnEvent = Callable[[str, Mapping[str, Any]], None]

_STUCK_PROBE_SECONDS: Final = 4 * PROBE_SECONDS
"""A probe that has not answered by then counts as failed and is given up."""


class ChildState(StrEnum):
    """Where a process is in its life."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    ENDING = "ending"


class Child:
    """Keeps one process alive. Not thread-safe: one loop calls `advance`, again and again, with a clock that never goes back.

    Invariants:
    1. At most one process runs (`test_a_killed_process_is_started_again`).
    2. A process that fails `patience.failures` probes in a row is ended (`test_a_hung_process_is_started_again`).
    3. A process that a signal has stopped is killed (`test_a_stopped_process_is_started_again`).
    4. The pause before a restart doubles up to a cap (`test_the_pause_between_restarts_doubles_up_to_a_cap`).
    """

    def __init__(
        self,
        spec: ProcessSpec,
        *,
        environment: Mapping[str, str],
        cwd: Path,
        log: LogFile,
        pool: ThreadPoolExecutor,
        on_event: OnEvent,
    ) -> None:
        self.spec = spec
        self.state = ChildState.DOWN
        self.restarts = 0
        self.was_up = False
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = dict(environment)
        self._cwd = cwd
        self._pool = pool
        self._on_event = on_event
        self._output = OutputReader(spec.name, log, lambda line: on_event("output", {"line": line}))
        self._attempts = 0
        self._start_at = float("-inf")
        self._first_started: float | None = None
        self._began = 0.0
        self._kill_at = 0.0
        self._probe: Future[Verdict] | None = None
        self._probed_at = float("-inf")
        self._failures = 0
        self._stopped_since: float | None = None

    @property
    def pid(self) -> int | None:
        """The running process, None between two lives."""
        return None if self.process is None else self.process.pid

    def lets_next_start(self, now: float) -> bool:
        """Tell whether what comes after may start: this one works, or had its time to."""
        return self.was_up or (self._first_started is not None and now - self._first_started > self.spec.patience.ready)

    def advance(self, now: float) -> None:
        """Do what is due at `now`."""
        if self.process is None:
            if now >= self._start_at:
                self._start(now)
            return
        code = self.process.poll()
        if code is not None:
            self._ended(now, code)
        elif self.state is ChildState.ENDING:
            if now >= self._kill_at:
                self._signal(signal.SIGKILL)
        elif self._is_stopped_for_long(now):
            self._end(now, "stopped by a signal", number=signal.SIGKILL)
        else:
            self._judge(now)

    def _is_stopped_for_long(self, now: float) -> bool:
        if self.pid is None or not is_stopped(self.pid):
            self._stopped_since = None
            return False
        self._stopped_since = now if self._stopped_since is None else self._stopped_since
        return now - self._stopped_since >= self.spec.patience.stopped

    def _start(self, now: float) -> None:
        if self._first_started is None:
            self._first_started = now
        self._began, self._failures, self._probe, self._stopped_since = now, 0, None, None
        self._probed_at = float("-inf")
        if self.spec.forget is not None:
            with suppress(OSError):
                self.spec.forget.unlink(missing_ok=True)
        try:
            self.process = subprocess.Popen(  # noqa: S603 - the commands are our own.
                self.spec.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._cwd,
                start_new_session=True,
            )
        except OSError as error:
            self._on_event("process.not_started", {"name": self.spec.name, "reason": str(error)})
            self._pause(now)
            return
        if self.process.stdout is not None:
            self._output.start(self.process.stdout)
        self.state = ChildState.STARTING
        self._on_event("process.started", {"name": self.spec.name, "pid": self.process.pid})
        if self.spec.probe is None:
            self._is_up(now)

    def _judge(self, now: float) -> None:
        patience = self.spec.patience
        if now - self._began > patience.healthy_after and self.state is ChildState.UP:
            self._attempts = 0
        verdict = self._collect(now)
        if verdict is not None:
            self._weigh(now, verdict)
        every = patience.probe_every if self.state is ChildState.UP else patience.probe_every / 10
        if self._probe is None and self.spec.probe is not None and now - self._probed_at >= every:
            self._probe, self._probed_at = self._pool.submit(self.spec.probe), now

    def _collect(self, now: float) -> Verdict | None:
        if self._probe is None:
            return None
        if self._probe.done():
            future, self._probe = self._probe, None
            error = future.exception()
            return (
                future.result() if error is None else Verdict(is_alive=False, detail=f"probe: {type(error).__name__}")
            )
        if now - self._probed_at > _STUCK_PROBE_SECONDS:
            self._probe.cancel()
            self._probe = None
            return Verdict(is_alive=False, detail="no verdict in time")
        return None

    def _weigh(self, now: float, verdict: Verdict) -> None:
        patience = self.spec.patience
        if verdict.is_alive:
            self._failures = 0
            if self.state is ChildState.STARTING:
                self._is_up(now)
        elif self.state is ChildState.STARTING:
            if now - self._began > patience.ready:
                # What cannot be judged is given the benefit of the doubt; what answers wrongly is not.
                self._is_up(now) if verdict.is_alive is None else self._end(now, verdict.detail)
        elif verdict.is_alive is False:
            self._failures += 1
            if self._failures >= patience.failures:
                self._end(now, verdict.detail)

    def _is_up(self, now: float) -> None:
        self.state, self.was_up = ChildState.UP, True
        seconds = round(now - self._began, 1)
        self._on_event("process.up", {"name": self.spec.name, "pid": self.pid, "seconds": seconds})

    def _end(self, now: float, reason: str, *, number: signal.Signals = signal.SIGTERM) -> None:
        self.state = ChildState.ENDING
        self._kill_at = now + self.spec.patience.grace
        self._on_event("process.hung", {"name": self.spec.name, "pid": self.pid, "reason": reason})
        self._signal(number)

    def _ended(self, now: float, code: int) -> None:
        pid = self.pid
        if not self.spec.is_survived_by_children and pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # What it left in its own group would hold its port or its files.
        self.process = None
        fields = {"name": self.spec.name, "pid": pid, "code": code, "restart_in_seconds": self._pause(now)}
        self._on_event("process.ended", fields)

    def _pause(self, now: float) -> float:
        patience = self.spec.patience
        pause = min(patience.backoff * 2.0**self._attempts, patience.backoff_cap)
        self._attempts = min(self._attempts + 1, 32)
        self.restarts += 1
        self.state, self._start_at = ChildState.DOWN, now + pause
        return pause

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)
