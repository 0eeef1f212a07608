"""Run one cycle whose collector of chat messages hangs where no signal reaches it: `python -m … <cycle> <Dagster folder>`."""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import Any

from ao_pipeline.adapters.step_watch import SIGNAL
from ao_pipeline.defs import collect, limits
from ao_pipeline.resilience.limits import Allowance
from ao_pipeline_tests.pipeline import doomed

STUCK = "raw/chat_messages"


def hang_in_foreign_code(spec: Any, **named: Any) -> Any:
    """Wait as code does that lets no signal through; collect everything else as always."""
    if spec.asset == STUCK:
        signal.pthread_sigmask(signal.SIG_BLOCK, {SIGNAL})
        time.sleep(600)
    return _collect(spec, **named)


_collect = collect.collect_from_origin


if __name__ == "__main__":
    collect.collect_from_origin = hang_in_foreign_code
    limits.Allowance = partial(Allowance, stall_seconds=1.0, grace_seconds=1.0)  # type: ignore[assignment,misc]
    doomed.main()
