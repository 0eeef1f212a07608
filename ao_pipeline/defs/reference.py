"""`ref/*`: what people keep in typed files: clients, brands, identities, team, lanes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from ao_pipeline.adapters.files import read_text
from ao_pipeline.collect.reference import REFERENCE_VERSION, parse_reference
from ao_pipeline.collect.reference_tables import REFERENCE_TABLES
from ao_pipeline.defs.managed import Work, managed_asset


def _declare(kind: str) -> Any:
    spec = REFERENCE_TABLES[kind]

    def facts(work: Work) -> dict[str, str]:
        text = read_text(work.settings.reference_path / f"{kind}.yaml")
        return {"sha256": hashlib.sha256(text.encode()).hexdigest()}

    def rule(work: Work) -> pa.Table:
        path = work.settings.reference_path / f"{kind}.yaml"
        return parse_reference(kind, read_text(path), path=path.name)

    rule.__doc__ = f"{spec.row[0].upper()}{spec.row[1:]}, from `{kind}.yaml` in the reference folder."
    declare: Callable[[Callable[[Work], pa.Table]], Any] = managed_asset(
        spec, code_version=REFERENCE_VERSION, kinds={"yaml"}, facts=facts
    )
    return declare(rule)


REFERENCE_ASSETS = tuple(_declare(kind) for kind in REFERENCE_TABLES)
