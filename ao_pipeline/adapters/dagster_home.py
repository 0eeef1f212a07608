"""Where Dagster keeps its own records: the folder that `ao` gives to every Dagster process it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ao_pipeline.errors import ConfigError
from ao_pipeline.settings import PROJECT_DIR, Settings

RELATIVE_BASE: Final = "var/dagster"
"""Storage folder as the root `dagster.yaml` writes it, relative to the project, for `dagster dev` without `ao`."""


def dagster_home_of(settings: Settings) -> Path:
    """Return the folder that serves as DAGSTER_HOME, whether it was given or not."""
    return settings.dagster_home or settings.data_path / "dagster_home"


def prepare_dagster_home(settings: Settings) -> Path:
    """Return a DAGSTER_HOME for these settings: the one that was given, or one under the data folder.

    The latter is the root `dagster.yaml` with absolute paths, so that `ao` and a plain `dagster dev` share one history.

    Raises:
        ConfigError: DAGSTER_HOME is relative or has no `dagster.yaml`.
    """
    if settings.dagster_home is not None:
        given = settings.dagster_home
        if not given.is_absolute() or not (given / "dagster.yaml").is_file():
            raise ConfigError(
                f"DAGSTER_HOME={given} must be an absolute folder that holds a dagster.yaml; unset it to use the default"
            )
        return given
    template = (PROJECT_DIR / "dagster.yaml").read_text(encoding="utf-8")
    home = dagster_home_of(settings)
    home.mkdir(parents=True, exist_ok=True)
    storage = settings.data_path / "dagster"
    storage.mkdir(parents=True, exist_ok=True)
    text = template.replace(RELATIVE_BASE, str(storage))
    target = home / "dagster.yaml"
    if not target.is_file() or target.read_text(encoding="utf-8") != text:
        partial = target.with_suffix(".yaml.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
    return home
