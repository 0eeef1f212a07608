"""Run one cycle in a process of its own, for a test that kills it: `python -m … <cycle> <folder of a Dagster instance>`."""

from __future__ import annotations

import sys

import dagster as dg

from ao_pipeline.cycle import Cycle
from ao_pipeline.defs.location import build_definitions
from ao_pipeline.defs.operate import run_cycle
from ao_pipeline.settings import current_settings


def whole_cycle() -> dg.JobDefinition:
    """Return the cycle job, for Dagster to build again by name."""
    return build_definitions().resolve_job_def("cycle")


def main() -> None:
    """Run the cycle; nobody expects this to return."""
    with dg.DagsterInstance.local_temp(sys.argv[2]) as instance:
        run_cycle(current_settings(), Cycle.from_key(sys.argv[1]), instance=instance)


if __name__ == "__main__":
    main()
