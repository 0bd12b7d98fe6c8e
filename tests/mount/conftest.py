"""Mounts for tests: places that become stores, and daemons on them that are gone when the test is."""

import contextlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefs.objects.s3.options import S3Options
from storefs.testing.mounted import Mounted, end_mounts
from storefs.testing.s3server import S3Server
from tests.mount.places import QUICK, Mounts, Place


@pytest.fixture(autouse=True)
def plain_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the machine's user reach a mount."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.setenv("STOREFS_CACHE_DIR", str(tmp_path / "caches"))


@pytest.fixture
def directory_place(tmp_path: Path) -> Place:
    return Place(str(tmp_path / "store"))


@pytest.fixture
def s3_place(s3_bucket: S3Options) -> Place:
    assert s3_bucket.endpoint_url is not None
    return Place(f"s3://{s3_bucket.bucket}/{s3_bucket.prefix}", {"endpoint_url": s3_bucket.endpoint_url})


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest) -> Place:
    """A place of each kind."""
    found = request.getfixturevalue(f"{request.param}_place")
    assert isinstance(found, Place)
    return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """One mount of a directory store for all tests of a module."""
    base = tmp_path_factory.mktemp("shared")
    with Mounted(str(base / "store"), base, QUICK, {"XDG_CONFIG_HOME": str(base / "no-config")}) as mount:
        yield mount


@pytest.fixture
def folder(shared: Mounted, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory of the test's own on the shared mount."""
    shared.allow(_limit_s(request))
    path = shared.path / request.node.name
    path.mkdir()
    yield path
    shared.rest()


@pytest.fixture
def mounts(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Mounts]:
    """Make a mount of a place; each has a folder of its own, and all are gone at the end."""
    limit_s = _limit_s(request)
    numbers = itertools.count(1)
    with contextlib.ExitStack() as stack:

        def make(place: Place, **options: str) -> Mounted:
            folder = tmp_path / f"mount-{next(numbers)}"
            folder.mkdir()
            given = {**QUICK, **place.options, **options}
            return stack.enter_context(Mounted(place.source, folder, given, limit_s=limit_s))

        yield make


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[Path]:
    """A directory for tests that mount by a command; what they leave there is taken away."""
    path = tmp_path / "mnt"
    path.mkdir()
    watchdog = threading.Timer(80, end_mounts, [path])
    watchdog.start()
    try:
        yield path
    finally:
        watchdog.cancel()
        end_mounts(path)


def _limit_s(request: pytest.FixtureRequest) -> float:
    """Return when a mount that hangs is ended: before pytest loses patience, for it would leave the mount behind."""
    marker = request.node.get_closest_marker("timeout")
    return 0.75 * float(marker.args[0] if marker is not None else request.config.getini("timeout"))


@pytest.fixture
def server(s3_server: S3Server) -> Iterator[S3Server]:
    """The S3 server, for a test that stops it: afterwards it runs again."""
    yield s3_server
    s3_server.start()
