"""`commands.py JSON`: run several `ao` commands in one process, as a person would one after the other.

The step retry's pause is taken out: a failing cycle is what is looked at, not its patience.
"""

from __future__ import annotations

import json
import sys

import dagster as dg

from ao_pipeline.defs import failures

failures.STEP_RETRY = dg.RetryPolicy(max_retries=1, delay=0)  # type: ignore[misc]

from ao_pipeline.cli import main  # noqa: E402 - definitions take the policy when they are imported.


def run(commands: list[list[str]]) -> dict[str, int]:
    """Run each command that this version has; return the exit codes."""
    codes: dict[str, int] = {}
    for command in commands:
        if command[0] not in main.commands:
            continue
        try:
            main.main(command, standalone_mode=True)
        except SystemExit as end:
            codes[" ".join(command)] = int(end.code or 0)
    return codes


if __name__ == "__main__":
    print(json.dumps({"codes": run(json.loads(sys.argv[1]))}))
