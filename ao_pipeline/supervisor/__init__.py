"""What `ao up` runs: it starts the engine's processes in order, keeps them alive and leaves none behind.

Dagster is never imported here, so that starting is quick and a broken definition cannot keep the supervisor down.
"""

from ao_pipeline.supervisor.run import run_supervised
from ao_pipeline.supervisor.specs import Patience, ProcessSpec

__all__ = ["Patience", "ProcessSpec", "run_supervised"]
