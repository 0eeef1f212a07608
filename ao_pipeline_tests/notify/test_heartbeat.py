"""The dead-man's switch over real HTTP: what an answer means, and that its address stays secret."""

from __future__ import annotations

import pytest

from ao_pipeline.adapters.channels.heartbeat import ping
from ao_pipeline.errors import AoError, PermanentError, TransientError
from ao_pipeline_tests.pipeline.alerting import listening

SECRET = "secret-key"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, None),
        (204, None),
        (302, PermanentError),
        (404, PermanentError),
        (429, TransientError),
        (503, TransientError),
    ],
)
def test_an_answer_means_what_its_status_says(status: int, error: type[AoError] | None) -> None:
    with listening(status) as switch:
        if error is None:
            ping(switch.url, connect_timeout_seconds=1, read_timeout_seconds=1)
        else:
            with pytest.raises(error) as caught:
                ping(switch.url, connect_timeout_seconds=1, read_timeout_seconds=1)
            assert SECRET not in str(caught.value)
            assert caught.value.__cause__ is None
    assert len(switch.paths) == 1


@pytest.mark.parametrize("url", [f"http://127.0.0.1:1/{SECRET}", f"ftp://x/{SECRET}", SECRET])
def test_an_address_that_does_not_work_stays_secret(url: str) -> None:
    with pytest.raises(AoError) as caught:
        ping(url, connect_timeout_seconds=0.2, read_timeout_seconds=0.2)

    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None
