"""The command line `ao`: run the pipeline, read its past, take changes back.

Commands parse, call and print; rules live below. Nothing heavy is imported before a command needs it: `ao --help`
must answer at once.
"""

from __future__ import annotations

from ao_pipeline.cli.entry import main

__all__ = ["main"]
