"""A source that hangs is waited for once a run, not once for each of its collectors: the run has minutes, not hours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ao_pipeline import clock
from ao_pipeline.errors import PermanentError, TransientError

MAX_RUNS: Final = 8
"""Runs remembered in one process; a run worker has one, a test session many."""

_silent: Final[dict[str, dict[str, str]]] = {}
"""By run: the asset that waited for each silent source in vain."""


@contextmanager
def waited_for_once(run: str, source: str, asset: str, *, patience_seconds: float) -> Iterator[None]:
    """Collect one asset, or leave it out because its source let another one wait in vain in this run.

    Args:
        run: Root run.
        source: The upstream.
        asset: The collector that asks; the one that waited first may try again, as its step's retry does.
        patience_seconds: A failure that took longer was silence; a quick one says nothing about other collectors.

    Raises:
        PermanentError: The source is silent in this run. The next cycle asks it again.
    """
    waited = _silent.get(run, {}).get(source)
    if waited is not None and waited != asset:
        raise PermanentError(
            f"{source} let {waited} wait in vain in this run; {asset} is left out and tried again in the next cycle"
        )
    began = clock.monotonic_seconds()
    try:
        yield
    except TransientError:
        if clock.monotonic_seconds() - began >= patience_seconds:
            while len(_silent) >= MAX_RUNS:
                del _silent[next(iter(_silent))]
            _silent.setdefault(run, {})[source] = asset
        raise
