"""A throw-away store beside the real one: what CI computes and checks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def fresh_store() -> Iterator[None]:
    """Use an empty store and simulated upstreams of its own until the end; both are gone afterwards."""
    from pydantic import SecretStr

    from ao_pipeline.sandbox.options import SandboxOptions
    from ao_pipeline.sandbox.server import serve
    from ao_pipeline.settings import current_settings, use_settings

    with (
        TemporaryDirectory(prefix="ao-fresh-") as folder,
        serve(SandboxOptions(data_dir=Path(folder), port=0)) as running,
    ):
        settings = current_settings().model_copy(
            update={
                "data_dir": Path(folder),
                "state_url": SecretStr(""),
                "dagster_home": None,
                "sandbox_port": running.port,
                "google_credentials_file": running.credentials_path,
            }
        )
        with use_settings(settings):
            yield
