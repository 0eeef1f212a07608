"""`supervise.py DATA_DIR JSON`: run a real supervisor over stand-ins; events go to standard output, one JSON line each."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ao_pipeline.errors import ConfigError
from ao_pipeline.settings import Settings
from ao_pipeline.supervisor import Patience, ProcessSpec, run_supervised
from ao_pipeline.supervisor.probes import http_probe

PATIENCE = Patience(
    ready=10, probe_every=0.3, failures=2, backoff=0.1, backoff_cap=0.4, healthy_after=60, grace=1.0, stopped=0.5
)


def main() -> int:
    """Supervise until signalled; 2 when refused."""
    folder = Path(sys.argv[1])

    def spec(name: str, port: int, modes: list[str]) -> ProcessSpec:
        command = (sys.executable, str(Path(__file__).with_name("stand_in.py")), str(folder), name, str(port), *modes)
        probe = http_probe("127.0.0.1", port, "/", seconds=0.3) if port else None
        setting = f"AO_{name.upper()}_PORT"
        survives = "survives" in modes
        return ProcessSpec(
            name, command, probe, port=port, port_setting=setting, patience=PATIENCE, is_survived_by_children=survives
        )

    def tell(name: str, fields: Mapping[str, Any]) -> None:
        print(json.dumps({"event": name, **fields}), flush=True)

    try:
        return run_supervised(
            Settings(data_dir=folder), on_event=tell, specs=[spec(*item) for item in json.loads(sys.argv[2])]
        )
    except ConfigError as error:
        tell("refused", {"reason": str(error)})
        return 2


if __name__ == "__main__":
    sys.exit(main())
