"""Processes that write different assets to one SQLite file, for real and for a short while; `make stress` does it for a minute."""

from pathlib import Path

from ao_pipeline_tests.stress.writers import run_writers


def test_writers_of_different_assets_never_find_the_database_locked(tmp_path: Path) -> None:
    outcome = run_writers(tmp_path, seconds=2.0)

    assert outcome.commits > 0
    assert outcome.locked == 0
    assert outcome.broken == 0
