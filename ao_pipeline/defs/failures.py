"""The one place that maps the project's errors to Dagster's retries, and writes down what failed.

A permanent error is never retried. A transient one is retried by the step's policy, once, after 30 seconds; its next try
is the next cycle. Run retries are for infrastructure only (`retry_on_asset_or_op_failure: false` in `dagster.yaml`).
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import dagster as dg

from ao_pipeline import clock
from ao_pipeline.adapters.state.store import StateStore
from ao_pipeline.defs.partitions import cycles_of
from ao_pipeline.errors import AoError, StepLimitError, TransientError, category_of
from ao_pipeline.observability.logs import redact_text
from ao_pipeline.resilience.evidence import Failure

PACKAGE: Final = "ao_pipeline"
MAX_MESSAGE_CHARACTERS: Final = 500

STEP_RETRY: Final = dg.RetryPolicy(max_retries=1, delay=30)


@contextmanager
def mapped_failures(context: dg.AssetExecutionContext, store: StateStore) -> Iterator[None]:
    """Turn permanent errors into failures that Dagster does not retry; let transient ones and our own bugs through.

    Args:
        context: The step.
        store: Keeps a record of each failed attempt; a store that cannot does not change what the step failed of.
    """
    try:
        yield
    except Exception as error:
        _record(context, store, error)
        if not isinstance(error, AoError):
            raise
        # A step over its limits would need as much again in half a minute: its next try is the next cycle.
        if isinstance(error, TransientError) and not isinstance(error, StepLimitError):
            raise
        raise dg.Failure(
            description=str(error), metadata={"ao/error": type(error).__name__}, allow_retries=False
        ) from error


def describe_bug(error: Exception) -> str:
    """Return where in our own code an unexpected exception came from. Its message may hold anything, so it is left out."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if PACKAGE in Path(frame.filename).parts]
    if not frames:
        return "raised outside of our own code"
    parts = Path(frames[-1].filename).parts
    place = "/".join(parts[len(parts) - 1 - parts[::-1].index(PACKAGE) :])
    return f"raised at {place}:{frames[-1].lineno} in {frames[-1].name}"


def _record(context: dg.AssetExecutionContext, store: StateStore, error: Exception) -> None:
    try:
        store.failures.record(
            Failure(
                asset="/".join(context.asset_key.path),
                cycle=cycles_of(context)[1].key,
                run_id=context.run.run_id,
                attempt=context.retry_number + 1,
                error=type(error).__name__,
                category=category_of(error),
                message=redact_text(str(error) if isinstance(error, AoError) else describe_bug(error))[
                    :MAX_MESSAGE_CHARACTERS
                ],
                at_us=clock.to_micros(clock.utc_now()),
                root_run_id=context.run.root_run_id or context.run.run_id,
            )
        )
    except Exception as trouble:  # noqa: BLE001  # Whatever it is, it may not hide why the step failed.
        context.log.warning(f"the failed attempt could not be recorded: {type(trouble).__name__}")
