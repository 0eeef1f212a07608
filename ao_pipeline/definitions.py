"""The code location: what `workspace.yaml` loads. One call, no logic."""

from ao_pipeline.defs.location import build_definitions

defs = build_definitions()
