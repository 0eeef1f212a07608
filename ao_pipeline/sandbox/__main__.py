"""`python -m ao_pipeline.sandbox`: start the simulated upstreams; defaults come from the settings."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ao_pipeline.errors import AoError
from ao_pipeline.sandbox.options import SandboxOptions, options_from
from ao_pipeline.sandbox.server import run_forever
from ao_pipeline.sandbox.world.size import SIZES
from ao_pipeline.settings import load_settings


def parse_options(arguments: list[str], defaults: SandboxOptions) -> SandboxOptions:
    """Return the defaults with what the command line changes."""
    parser = argparse.ArgumentParser(prog="python -m ao_pipeline.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=defaults.port, help="loopback port; 0 takes a free one")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="same seed, same world")
    parser.add_argument("--size", choices=sorted(SIZES), default=defaults.size.name, help="how large the agency is")
    parser.add_argument("--data-dir", type=Path, default=defaults.data_dir, help="folder of the sandbox's own files")
    parser.add_argument("--frozen-at", default=None, help="ISO instant at which the world stands still")
    given = parser.parse_args(arguments)
    frozen_at: datetime | None = None
    if given.frozen_at is not None:
        try:
            frozen_at = datetime.fromisoformat(given.frozen_at.replace("Z", "+00:00"))
        except ValueError:
            parser.error(f"--frozen-at {given.frozen_at!r} is not an ISO 8601 instant")
        frozen_at = frozen_at if frozen_at.tzinfo is not None else frozen_at.replace(tzinfo=UTC)
    return replace(
        defaults, port=given.port, seed=given.seed, size=SIZES[given.size], data_dir=given.data_dir, frozen_at=frozen_at
    )


def main(arguments: list[str]) -> int:
    """Run until stopped; return the exit code."""
    try:
        run_forever(parse_options(arguments, options_from(load_settings())))
    except AoError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
