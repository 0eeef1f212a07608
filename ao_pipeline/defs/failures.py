"""The one place that maps the project's errors to Dagster's retries.

A permanent error is never retried. A transient one is retried by the step's policy, once, after 30 seconds; its next try
is the next cycle. Run retries are for infrastructure only (`retry_on_asset_or_op_failure: false` in `dagster.yaml`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import dagster as dg

from ao_pipeline.errors import AoError, TransientError

STEP_RETRY: Final = dg.RetryPolicy(max_retries=1, delay=30)


@contextmanager
def mapped_failures() -> Iterator[None]:
    """Turn permanent errors into failures that Dagster does not retry; let transient ones and our own bugs through."""
    try:
        yield
    except TransientError:
        raise
    except AoError as error:
        raise dg.Failure(
            description=str(error), metadata={"ao/error": type(error).__name__}, allow_retries=False
        ) from error
