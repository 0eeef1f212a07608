"""What processes share: the vendors' allowances, and Xero's one refresh token."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ao_pipeline.adapters.sources.buckets import Bucket, RateLimit, bucket_path
from ao_pipeline.adapters.sources.http import SourceClient
from ao_pipeline.adapters.sources.limits import Budget, RateLimiter, rate_limit
from ao_pipeline.adapters.sources.rotating import RefreshTokenFile
from ao_pipeline.adapters.sources.tokens import FixedToken
from ao_pipeline.errors import AuthError, BudgetExhaustedError, ConfigError
from ao_pipeline.sandbox.replies import encode_token
from ao_pipeline.settings import PROJECT_DIR, Settings
from ao_pipeline_tests.sources.source_engine import Engine, FakeTime

TAKE_FORTY = """
import sys
from pathlib import Path
from ao_pipeline.adapters.sources.buckets import Bucket, RateLimit
bucket = Bucket(RateLimit(60), path=Path(sys.argv[1]), monotonic=lambda: 5.0)
for _ in range(40):
    bucket.reserve(1, longest_wait_seconds=1e9)
"""


def test_processes_that_take_at_once_share_one_allowance(tmp_path: Path) -> None:
    path = tmp_path / "limits" / "xero.json"
    command = [sys.executable, "-c", TAKE_FORTY, str(path)]
    running = [subprocess.Popen(command, cwd=PROJECT_DIR) for _ in range(2)]
    assert [process.wait(timeout=30) for process in running] == [0, 0]

    wait_seconds = Bucket(RateLimit(60), path=path, monotonic=lambda: 5.0).reserve(1, longest_wait_seconds=1e9)

    assert wait_seconds == pytest.approx(21)  # 81 units of 60 were asked for, one a second comes back.


def test_a_wait_that_does_not_fit_takes_nothing(tmp_path: Path, fake_time: FakeTime) -> None:
    limiter = RateLimiter(RateLimit(60), source="xero", folder=tmp_path, monotonic=fake_time.monotonic)
    budget = Budget(5, source="xero", sleep=fake_time.sleep, monotonic=fake_time.monotonic)
    for _ in range(65):
        limiter.acquire("", "xero.invoices.list", budget)

    with pytest.raises(BudgetExhaustedError):
        limiter.acquire("", "xero.invoices.list", budget)

    level = Bucket(RateLimit(60), path=bucket_path(tmp_path, "xero", ""), monotonic=fake_time.monotonic)
    assert level.reserve(1, longest_wait_seconds=60) == pytest.approx(1)


def test_xeros_day_is_what_its_plan_allows() -> None:
    small = Settings(xero_daily_calls=1_000)

    assert rate_limit("xero", Settings()) == RateLimit(60, units_per_day=5_000)
    assert rate_limit("xero", small) == RateLimit(60, units_per_day=1_000)
    assert rate_limit("asana", small) == RateLimit(1_500)


def test_a_client_of_the_smallest_plan_stops_at_its_day(tmp_path: Path, fake_time: FakeTime) -> None:
    settings = Settings(xero_base_url="http://127.0.0.1:9", xero_daily_calls=100, data_dir=tmp_path)
    tokens, budget = FixedToken("t"), Budget(86_400, source="xero", sleep=fake_time.sleep)
    client = SourceClient("xero", settings=settings, tokens=tokens, monotonic=fake_time.monotonic)
    for _ in range(100):
        fake_time.seconds += 1
        client._limiter.acquire("", "xero.invoices.list", budget)
    client._limiter.acquire("", "xero.invoices.list", budget)

    assert fake_time.naps == [pytest.approx(864 - 99, rel=0.02)]


def test_a_day_has_its_own_allowance(tmp_path: Path) -> None:
    now = [0.0]
    bucket = Bucket(RateLimit(60, units_per_day=100), path=tmp_path / "b.json", monotonic=lambda: now[0])
    for minute in range(10):
        now[0] = 60.0 * minute
        for _ in range(10):
            bucket.reserve(1, longest_wait_seconds=1e9)

    assert bucket.reserve(1, longest_wait_seconds=1e9) > 60


@pytest.mark.parametrize("content", [b"", b"[[1,", b"{}", b"[[1.0, 2.0], [3.0, 4.0]]"])
def test_a_file_that_cannot_be_read_counts_as_a_full_bucket(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(content)

    assert Bucket(RateLimit(60), path=path).reserve(60, longest_wait_seconds=0) == 0


def test_a_bucket_from_before_a_reboot_goes_on_from_what_it_held(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    Bucket(RateLimit(60), path=path, monotonic=lambda: 9e6).reserve(60, longest_wait_seconds=0)

    assert Bucket(RateLimit(60), path=path, monotonic=lambda: 10.0).reserve(1, longest_wait_seconds=9) == 1


def test_an_address_does_not_stand_in_a_file_name(tmp_path: Path) -> None:
    assert "ops" not in bucket_path(tmp_path, "gmail", "ops@agency.example").name


def with_refresh_token(engine: Engine, folder: Path) -> tuple[Settings, Path]:
    path = folder / "refresh-token"
    path.write_text(encode_token("refresh", 7) + "\n")
    return engine.settings.model_copy(update={"xero_refresh_token_file": path}), path


def test_a_refresh_token_is_replaced_by_its_successor(still_engine: Engine, tmp_path: Path) -> None:
    settings, path = with_refresh_token(still_engine, tmp_path)

    result = still_engine.read("raw/xero_contacts", settings=settings)

    assert result.rows.num_rows
    assert path.read_text() == encode_token("refresh", 8) + "\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_collections_at_once_refresh_one_after_the_other(engine: Engine, tmp_path: Path) -> None:
    settings, path = with_refresh_token(engine, tmp_path)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: engine.read("raw/xero_contacts", settings=settings), range(4)))

    assert path.read_text() == encode_token("refresh", 11) + "\n"


def test_a_refused_refresh_token_needs_a_human_and_stays(engine: Engine, tmp_path: Path) -> None:
    settings, path = with_refresh_token(engine, tmp_path)
    engine.read("raw/xero_contacts", settings=settings)
    path.write_text(encode_token("refresh", 3))

    with pytest.raises(AuthError, match="invalid_grant"):
        engine.read("raw/xero_contacts", settings=settings)

    assert path.read_text() == encode_token("refresh", 3)


@pytest.mark.parametrize("content", [None, "", "  \n"])
def test_a_missing_refresh_token_is_a_configuration_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "refresh-token"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ConfigError, match="refresh-token"), RefreshTokenFile(path).locked():
        pass


def test_a_successor_that_cannot_be_saved_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "refresh-token"
    path.write_text("old")
    file = RefreshTokenFile(path)

    with file.locked():
        path.unlink()
        path.mkdir()
        with pytest.raises(ConfigError):
            file.replace("new")

    assert [item.name for item in tmp_path.iterdir() if item.name.startswith(".")] == []
