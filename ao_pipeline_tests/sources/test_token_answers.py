"""What a token endpoint may answer with 200 without giving a token: never anything but an error of the project's own."""

from __future__ import annotations

import pytest

from ao_pipeline.adapters.sources.exchange import RawAnswer
from ao_pipeline.adapters.sources.tokens import lifetime_of, token_of
from ao_pipeline.errors import ContractError, PermanentError, TransientError
from ao_pipeline_tests.sources.source_engine import Engine


@pytest.mark.parametrize(
    ("door", "asset"),
    [("google_token", "raw/chat_spaces"), ("xero_token", "raw/xero_contacts")],
    ids=["google", "xero"],
)
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("malformed_record", ContractError),
        ("empty", ContractError),
        ("foreign", ContractError),
        ("html", TransientError),
        ("truncated", TransientError),
        ("disconnect", TransientError),
    ],
)
def test_a_token_endpoint_that_answers_nonsense_is_classified(
    still_engine: Engine, door: str, asset: str, kind: str, error: type[Exception]
) -> None:
    still_engine.box.fault(door, kind)

    with pytest.raises(error):
        still_engine.read(asset)


@pytest.mark.parametrize(
    ("said", "seconds"), [(b"3599", 3599), (b'"1800"', 1800), (b"59.5", 59.5), (b"0", 0), (b"null", 0)], ids=repr
)
def test_a_lifetime_is_a_number_of_seconds(said: bytes, seconds: float) -> None:
    assert lifetime_of(RawAnswer(200, {}, b'{"access_token":"t","expires_in":' + said + b"}")) == seconds


@pytest.mark.parametrize("said", [b"-1", b"true", b"[1]", b"1e300", b"NaN", b'"soon"', '"٣"'.encode()], ids=repr)
def test_a_lifetime_that_is_none_is_refused(said: bytes) -> None:
    with pytest.raises(ContractError):
        lifetime_of(RawAnswer(200, {}, b'{"expires_in":' + said + b"}"))


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"access_token":""}', b'{"access_token":{"a":1}}', b"null"])
def test_an_answer_without_a_token_is_refused(body: bytes) -> None:
    with pytest.raises(PermanentError):
        token_of(RawAnswer(200, {}, body), "google.token")
