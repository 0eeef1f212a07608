"""Prism stands between the collectors and the sandbox and lets nothing through that a vendor's description forbids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from ao_pipeline.addresses import URL_FIELDS
from ao_pipeline.defs.origin import source_of_asset
from ao_pipeline.errors import AoError
from ao_pipeline.sandbox.options import SandboxOptions
from ao_pipeline.sandbox.server import RunningSandbox, serve
from ao_pipeline.settings import Settings
from ao_pipeline_tests.conformance.prism_judge import judge, why_absent
from ao_pipeline_tests.conformance.recorded_session import ASSETS, change_everything, recording
from ao_pipeline_tests.conformance.vendor_documents import CONTRACTS, SOURCES, Description, description, is_present
from ao_pipeline_tests.sources.source_engine import SMALL, START, Engine
from ao_pipeline_tests.sources.source_truth import assert_equals_truth

pytestmark = pytest.mark.skipif(not is_present(), reason=f"the vendors' descriptions are not in {CONTRACTS.name}/")


UNJUDGED = {"raw/asana_stories"}
"""The service gives system stories without an author, which the description forbids; `test_vendor_conformance` reads them."""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    reason = why_absent()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("judged")
    with serve(SandboxOptions(data_dir=folder, frozen_at=START, size=SMALL)) as made:
        _remove_deviations(made)
        yield made


def _remove_deviations(box: RunningSandbox) -> None:
    """Take out what `DELIBERATE` excuses: everything else has to fit."""
    for row in box.truth("raw_asana_projects"):
        status = row["object"]["current_status"]
        if status and status["color"] == "aqua":
            box.mutate("project", "update", key=row["object"]["gid"], current_status={**status, "color": "green"})
    for row in box.truth("raw_asana_users"):
        if row["object"]["email"] is None:
            box.mutate("user", "update", key=row["object"]["gid"], email="guest@client.example")


@dataclass
class Court:
    """One source whose collectors speak through the judge."""

    vendor: Description
    engine: Engine
    url: str

    @property
    def assets(self) -> tuple[str, ...]:
        return tuple(
            asset for asset in ASSETS if source_of_asset(asset) == self.vendor.source and asset not in UNJUDGED
        )

    def status(self, path: str) -> int:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(self.url + path, headers={"Authorization": "Bearer x"}, timeout=20).status_code


@pytest.fixture(params=SOURCES)
def court(request: pytest.FixtureRequest, box: RunningSandbox, tmp_path: Path) -> Iterator[Court]:
    vendor = description(request.param)
    with judge(vendor.file, box.url + vendor.mount) as url:
        field = URL_FIELDS[vendor.source]
        settings = Settings(
            sandbox_port=box.port,
            data_dir=tmp_path,
            google_credentials_file=box.credentials_path,
            **{field: url + vendor.base_path},
        )
        yield Court(vendor, Engine(box, settings, now=box.site.clock.now()), url)


def test_a_session_through_the_judge_collects_everything(court: Court) -> None:
    with recording() as exchanges, suppress(AoError):
        for asset in court.assets:
            court.engine.run(asset)
        change_everything(court.engine)
        court.engine.advance(minutes=15)
        for asset in court.assets:
            court.engine.run(asset)

    refusals = [(one.query, json.dumps(one.body)[:1500]) for one in exchanges if one.status != 200]
    assert refusals == []
    assert exchanges
    assert all(exchange.url.startswith(court.url) for exchange in exchanges)
    for asset in court.assets:
        assert_equals_truth(court.engine, asset)
    assert court.status("/nothing/of/this/vendor") == 404, "the judge lets everything through"
