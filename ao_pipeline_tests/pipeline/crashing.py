"""Run one cycle whose collector of chat messages kills its process, or the retry of the last one: `python -m … <cycle> <folder>`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import dagster as dg

from ao_pipeline.defs import collect
from ao_pipeline_tests.pipeline import doomed
from ao_pipeline_tests.pipeline.plant import QUIET

CRASHES = "raw/chat_messages"


def crash(spec: Any, **named: Any) -> Any:
    """Die as foreign code does that writes where it must not; collect everything else as always."""
    if spec.asset == CRASHES:
        os.kill(os.getpid(), signal.SIGKILL)
    return _collect(spec, **named)


_collect = collect.collect_from_origin  # type: ignore[attr-defined]


def main() -> None:
    """Run the cycle, or execute the newest run again from where it died, as Dagster does."""
    with dg.DagsterInstance.local_temp(sys.argv[2]) as instance:
        killed = instance.get_runs(limit=1)
        if not killed:
            doomed.main()
        dg.execute_job(
            dg.reconstructable(doomed.whole_cycle),
            instance=instance,
            run_config=QUIET,
            tags=dict(killed[0].tags),
            reexecution_options=dg.ReexecutionOptions(parent_run_id=killed[0].run_id),
            raise_on_error=False,
        )


if __name__ == "__main__":
    collect.collect_from_origin = crash  # type: ignore[attr-defined]
    main()
