"""Supervise until told to stop, then leave no process behind.

Invariants:
1. After an orderly stop nothing that was started runs, however deep (`test_a_stop_leaves_no_orphan`).
2. The same after SIGKILL of the supervisor, within seconds (`test_a_killed_supervisor_leaves_no_orphan`).
3. Two supervisors never share a data folder (`test_a_second_supervisor_refuses`).
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from ao_pipeline.adapters.dagster_home import prepare_dagster_home
from ao_pipeline.clock import monotonic_seconds, to_iso, utc_now
from ao_pipeline.settings import PROJECT_DIR, Settings, child_environment
from ao_pipeline.supervisor import tree
from ao_pipeline.supervisor.child import Child, OnEvent
from ao_pipeline.supervisor.cycles import CycleWatch
from ao_pipeline.supervisor.guard import exclusive, refuse_taken_ports
from ao_pipeline.supervisor.leftovers import remove_leftovers
from ao_pipeline.supervisor.output import LogFile
from ao_pipeline.supervisor.specs import ProcessSpec, engine_specs, write_workspace

TICK_SECONDS: Final = 0.2
"""How often processes are looked at: a dead one is noticed within this time."""

REAP_SECONDS: Final = 5.0
_RETRY_INTERVAL: Final = "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS"
RETRY_INTERVAL_SECONDS: Final = 2
"""How often Dagster looks for failed runs to execute again; its default of 5 s is part of every recovery."""

_SLOWING_VARIABLES: Final = ("PYTHONDONTWRITEBYTECODE",)
"""Without compiled files every run compiles Dagster anew, which doubles its start."""


def run_supervised(
    settings: Settings,
    *,
    stop: threading.Event | None = None,
    on_event: OnEvent | None = None,
    specs: Sequence[ProcessSpec] | None = None,
) -> int:
    """Keep the engine running until stopped; return the exit code.

    Args:
        settings: Deployment settings; the processes read the same environment.
        stop: Ends the engine when set; by default SIGINT, SIGTERM and SIGHUP do. A second signal ends this process at once
            and leaves the rest to its watchdog.
        on_event: Gets every event's name and fields; by default they are printed.
        specs: What to run instead of the engine's own processes.

    Raises:
        ConfigError: Another supervisor runs on the data folder, or a port is taken. Nothing was started.
    """
    report = on_event or _print_event
    with exclusive(settings.data_path):
        left = tree.end_all(tree.prefix_of(settings.data_path), grace_seconds=5.0)
        if left:
            report("supervisor.ended_leftovers", {"killed": left})
        removed = remove_leftovers(settings.data_path)
        if removed:
            report("supervisor.removed_leftovers", {"files": ",".join(removed)})
        environment: dict[str, str] = {}
        if specs is None:
            _prepare_store(settings)
            environment["DAGSTER_HOME"] = str(prepare_dagster_home(settings))
            environment[_RETRY_INTERVAL] = str(RETRY_INTERVAL_SECONDS)
            specs = engine_specs(settings, write_workspace(settings))
        refuse_taken_ports(specs)
        with _stopping(stop) as stopping:
            supervisor = Supervisor(specs, settings.data_path, environment, report)
            supervisor.run(stopping.wait)
    return 0


class Supervisor:
    """The loop over all processes.

    Args:
        specs: In the order of their start.
        folder: Data folder: holds the logs and gives the mark.
        environment: Variables for every process beside this one's own.
        on_event: Gets every event.
    """

    def __init__(
        self, specs: Sequence[ProcessSpec], folder: Path, environment: Mapping[str, str], on_event: OnEvent
    ) -> None:
        self._mark = tree.mark_of(folder)
        self._on_event = on_event
        self._pool = ThreadPoolExecutor(2 * len(specs) + 1, "probe")
        self._environment = child_environment(without=_SLOWING_VARIABLES, **environment, **{tree.MARK: self._mark})
        self._logs = {spec.name: LogFile(folder / "logs" / f"{spec.name}.log") for spec in specs}
        self.children = [
            Child(
                spec,
                environment=self._environment,
                cwd=PROJECT_DIR,
                log=self._logs[spec.name],
                pool=self._pool,
                on_event=on_event,
            )
            for spec in specs
        ]
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._is_announced = False
        self._cycles = CycleWatch(folder / "logs" / "cycles.jsonl", on_event)

    def run(self, wait: Callable[[float], bool]) -> None:
        """Supervise until `wait` returns True; then end everything."""
        tree.adopt_orphans()
        reaped_at = monotonic_seconds()
        try:
            while not wait(TICK_SECONDS):
                now = monotonic_seconds()
                self._guard()
                for child in self.children:
                    child.advance(now)
                    if not child.lets_next_start(now):
                        break
                self._announce()
                self._cycles.look()
                if now - reaped_at >= REAP_SECONDS:
                    reaped_at = now
                    tree.reap_adopted(self._own_pids())
        finally:
            self._end()

    def _guard(self) -> None:
        """Have a watchdog: it outlives this process and ends what it leaves."""
        if self._watchdog is not None and self._watchdog.poll() is None:
            return
        try:
            self._watchdog = subprocess.Popen(  # noqa: S603 - the command is our own.
                [sys.executable, "-m", "ao_pipeline.supervisor.watchdog", self._mark],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=child_environment(),
                cwd=PROJECT_DIR,
                start_new_session=True,
            )
        except OSError as error:  # No memory for one more process just now: the next look tries again.
            self._on_event("watchdog.not_started", {"reason": str(error)})

    def _announce(self) -> None:
        if not self._is_announced and all(child.was_up for child in self.children):
            self._is_announced = True
            self._on_event("supervisor.up", {"table": table_of(self.children)})

    def _end(self) -> None:
        self._on_event("supervisor.stopping", {})
        grace = max((child.spec.patience.grace for child in self.children), default=0.0)
        killed = tree.end_all(self._mark, grace_seconds=grace)
        for child in self.children:
            if child.process is not None:
                with suppress(subprocess.TimeoutExpired):
                    child.process.wait(timeout=1)
        tree.reap_adopted(self._own_pids())
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
            self._watchdog.wait(timeout=30)
        self._pool.shutdown(wait=False, cancel_futures=True)
        for log in self._logs.values():
            log.close()
        self._on_event("supervisor.stopped", {"killed": killed})

    def _own_pids(self) -> set[int]:
        pids = {child.pid for child in self.children if child.pid is not None}
        return pids | ({self._watchdog.pid} if self._watchdog is not None else set())


def table_of(children: Sequence[Child]) -> str:
    """Return what runs where, one line a process."""
    rows = [("process", "pid", "address"), *((c.spec.name, str(c.pid or "-"), c.spec.url or "-") for c in children)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{name:<{widths[0]}}  {pid:>{widths[1]}}  {url}" for name, pid, url in rows)


def _prepare_store(settings: Settings) -> None:
    from ao_pipeline.adapters.state.opening import open_store  # Late: tests with specs of their own need no database.

    open_store(settings).close()


@contextmanager
def _stopping(stop: threading.Event | None) -> Iterator[threading.Event]:
    if stop is not None:
        yield stop
        return
    event = threading.Event()

    def request(number: int, _frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt(f"second signal {number}")
        event.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, request) for number in numbers}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_event(name: str, fields: Mapping[str, Any]) -> None:
    if name == "output":
        text = str(fields["line"])
    elif name == "supervisor.up":
        text = f"{name}\n{fields['table']}"
    else:
        text = " ".join([name, *(f"{key}={value}" for key, value in fields.items())])
    with suppress(OSError, ValueError):  # A terminal that is gone, a full disk behind it: the engine goes on unheard.
        print(f"{to_iso(utc_now())} {text}", file=sys.stderr, flush=True)
