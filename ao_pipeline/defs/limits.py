"""What every step's body runs in: a limit on its memory, on its time and on its silence, and its share of the run's time."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters.step_memory import limited_memory
from ao_pipeline.adapters.step_watch import WATCHDOG
from ao_pipeline.adapters.stuck_steps import enter_step, is_stuck, leave_step, mark_stuck
from ao_pipeline.collect.tables import RAW_TABLES
from ao_pipeline.errors import StepLimitError, StepStalledError, StepTimeoutError
from ao_pipeline.resilience.limits import (
    COLLECTOR_GRACE_SECONDS,
    Allowance,
    RunBudget,
    Stage,
    memory_mib,
    source_of,
    stage_of,
)
from ao_pipeline.settings import Settings

MAX_RUNS: Final = 8
"""Runs remembered in one process; a run worker has one, a test session many."""

STUCK_EXIT_CODE: Final = 70
"""Exit code of a process that ended itself because a step could not be interrupted."""

MAX_DEATHS: Final = 2
"""Processes of a run that may die in one step; the third, which is the last that Dagster starts, leaves it out and ends the cycle."""

MEMORY_SETTING: Final = "AO_STEP_MEMORY_MIB"

_budgets: Final[dict[str, RunBudget]] = {}
"""By run, not by root run: a run that is executed again has its time again."""


@dataclass(frozen=True)
class Bounds:
    """What a body may still use. `settings` are the deployment's, with a collector's budget cut to what is left for it."""

    settings: Settings
    deadline: float

    def remaining_seconds(self) -> float:
        """Return the time until the step is interrupted."""
        return self.deadline - clock.monotonic_seconds()


@contextmanager
def step_limits(
    context: dg.AssetExecutionContext, asset: str, settings: Settings, *, abort: Callable[[], None]
) -> Iterator[Bounds]:
    """Run the body within what its asset may use; yield that.

    Args:
        context: Of the step.
        asset: Whose step it is.
        settings: The memory limit, the collectors' budget, the data folder.
        abort: Breaks what the body may be waiting for, from another thread: the state store's connections.

    Raises:
        ResourceLimitError: It needed too much memory.
        StepTimeoutError: It took too long, or the run has no time left for it.
        StepStalledError: It made no progress, now or in the attempt before this one, or processes of this run died in it.
        In every case the body's transaction was rolled back.
    """
    root_run = context.run.root_run_id or context.run.run_id
    stuck_folder = settings.data_path / "stuck_steps"
    if is_stuck(stuck_folder, root_run=root_run, asset=asset):
        raise StepStalledError(
            f"{asset} hung where nothing could interrupt it, and cost this run its process; it is tried again in the next cycle"
        )
    if enter_step(stuck_folder, root_run=root_run, asset=asset) >= MAX_DEATHS:
        raise StepStalledError(
            f"{asset} was at work each of the {MAX_DEATHS} times that a process of this run died; it is tried again in the next cycle"
        )
    try:
        with _bounded_step(context, asset, settings, abort=abort, stuck_folder=stuck_folder) as bounds:
            yield bounds
    finally:
        leave_step(stuck_folder, root_run=root_run, asset=asset)


@contextmanager
def _bounded_step(
    context: dg.AssetExecutionContext, asset: str, settings: Settings, *, abort: Callable[[], None], stuck_folder: Path
) -> Iterator[Bounds]:
    root_run = context.run.root_run_id or context.run.run_id
    budget = _budget_of(context.run, settings)
    mib = memory_mib(asset, default_mib=settings.step_memory_mib)
    allowance = Allowance(asset, budget.allow(asset), mib)
    if not allowance.seconds:
        raise StepTimeoutError(
            f"{asset} is left out: the steps before it used up the time that this run has to {stage_of(asset)}; "
            "it is tried again in the next cycle"
        )

    def die(reason: StepLimitError) -> None:
        # Without the mark, on a full disk, the retry hangs once more; a process that stays would hang for ten minutes.
        with suppress(OSError):
            mark_stuck(stuck_folder, root_run=root_run, asset=asset)
        with suppress(OSError):
            os.write(2, f"ao: {reason}; it cannot be interrupted, so this process ends\n".encode())
        os._exit(STUCK_EXIT_CODE)

    began = clock.monotonic_seconds()
    try:
        with (
            limited_memory(asset, mib=mib, setting=MEMORY_SETTING, warn=context.log.warning),
            WATCHDOG.watching(allowance, abort=abort, die=die),
        ):
            yield Bounds(_settings_within(allowance, settings), began + allowance.seconds)
    finally:
        budget.spend(asset, clock.monotonic_seconds() - began)


def _settings_within(allowance: Allowance, settings: Settings) -> Settings:
    """Let a collector end by itself, a little before it would be interrupted, and say what it waited for."""
    seconds = allowance.seconds - COLLECTOR_GRACE_SECONDS
    if not source_of(allowance.asset) or settings.source_budget_seconds <= seconds:
        return settings
    return settings.model_copy(update={"source_budget_seconds": max(seconds, COLLECTOR_GRACE_SECONDS)})


def _budget_of(run: dg.DagsterRun, settings: Settings) -> RunBudget:
    budget = _budgets.get(run.run_id)
    if budget is None:
        while len(_budgets) >= MAX_RUNS:
            del _budgets[next(iter(_budgets))]
        budget = _budgets[run.run_id] = RunBudget(_assets_of(run), settings.source_budget_seconds)
    return budget


def _assets_of(run: dg.DagsterRun) -> Iterable[str]:
    # Nothing chosen means everything; a run within this process does not say what was chosen for it.
    return ["/".join(key.path) for key in run.asset_selection or ()] or [spec.asset for spec in RAW_TABLES]


def collecting_seconds(run_id: str) -> float:
    """Return what the collectors of a run took together, as far as this process executed them."""
    return _budgets[run_id].spent(Stage.COLLECT) if run_id in _budgets else 0.0
