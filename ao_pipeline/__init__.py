"""An autonomous, self-healing Dagster pipeline over an agency's systems, with verified undo."""

import os

# Read by Arrow when it is first imported, so before anything else here is. Its own allocator takes 1 GiB at once and hides from the
# step's memory limit what it does with it; see adapters.step_memory. Whoever sets the variable decides otherwise.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # noqa: TID251 - it sets for a library, it reads nothing.
