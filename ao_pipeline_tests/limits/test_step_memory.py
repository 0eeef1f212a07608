"""A step that needs more memory than its limit fails by an error that can be caught, whatever asks for the memory."""

import json
import subprocess
import sys

import pytest

from ao_pipeline.adapters.step_memory import is_out_of_memory, limited_memory
from ao_pipeline.errors import ResourceLimitError
from ao_pipeline.settings import PROJECT_DIR
from ao_pipeline_tests.limits.memory_hog import KINDS, LIMIT_MIB

IN_A_PROCESS = "import ao_pipeline; from ao_pipeline_tests.limits.memory_hog import main; main()"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is one of Linux")


def limited(body: object, *, mib: int = 64) -> None:
    with limited_memory("truth/hog", mib=mib, setting="AO_STEP_MEMORY_MIB", warn=pytest.fail):
        assert callable(body)
        body()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_needs_more_memory_than_its_limit_it_alone_fails(kind: str) -> None:
    command = [sys.executable, "-c", IN_A_PROCESS, kind]

    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr[-2_000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert "truth/hog needed more than the 128 MiB" in told["error"], told
    assert "AO_STEP_MEMORY_MIB" in told["error"]
    assert told["peak"] < LIMIT_MIB * 1.2, told  # It was really held back,
    assert told["after"] < LIMIT_MIB / 4, told  # what it held was given back,
    assert told["next"] > 1_000_000, told  # and the next step could work.


def test_the_limit_that_was_in_force_before_is_in_force_again() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    seen = []

    def body() -> None:
        seen.append(resource.getrlimit(resource.RLIMIT_DATA))
        raise ValueError("a bug of the step's own")

    with pytest.raises(ValueError, match="a bug"):
        limited(body)

    assert seen[0][0] != before[0]
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_an_error_that_an_allocation_caused_is_recognized_through_what_wraps_it() -> None:
    def body() -> None:
        try:
            bytes(2**40)
        except MemoryError as error:
            raise RuntimeError("the database said no") from error

    with pytest.raises(ResourceLimitError):
        limited(body)
    assert not is_out_of_memory(RuntimeError("another reason"))


def test_no_limit_is_set_where_none_is_wanted() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)

    with limited_memory("truth/any", mib=0, setting="AO_STEP_MEMORY_MIB", warn=pytest.fail):
        assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_a_system_without_such_a_limit_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ao_pipeline.adapters.step_memory.sys.platform", "plan9")
    monkeypatch.setattr("ao_pipeline.adapters.step_memory._said", set())
    told: list[str] = []

    for _ in range(3):
        with limited_memory("truth/any", mib=64, setting="AO_STEP_MEMORY_MIB", warn=told.append):
            pass

    assert len(told) == 1
    assert "plan9" in told[0]
