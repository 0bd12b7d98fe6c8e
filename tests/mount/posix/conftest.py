"""Where the tables are checked: a local directory, which proves them, and a mount with and without the bridge."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from storefs.testing.mounted import Mounted
from tests.mount.places import QUICK
from tests.mount.posix import stage as stages
from tests.mount.posix.actor import Actor, Caller

_SOAK = os.environ.get("STOREFS_SOAK") == "1"
_LIMIT_S = 90.0
_numbers = itertools.count(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without the bridge, let each row of a table be checked for one user only; STOREFS_SOAK=1 takes both."""
    if not _SOAK:
        dropped = [item for item in items if _is_repeated(item)]
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in set(dropped)]


def _is_repeated(item: pytest.Item) -> bool:
    given = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    row = given.get("refusal")
    return isinstance(row, stages.Refusal) and given.get("site") == "plain" and given["who"] == "root" != row.who


@dataclass(frozen=True, slots=True)
class Site:
    """A directory to test in. ``mounted`` is None where it is an ordinary local one."""

    name: str
    root: Path
    mounted: Mounted | None

    @property
    def is_mount(self) -> bool:
        return self.mounted is not None

    @property
    def has_bridge(self) -> bool:
        return self.name == "bridge"

    def allow(self, limit_s: float = _LIMIT_S) -> None:
        """Let a test take so long before its mount counts as one that hangs."""
        if self.mounted is not None:
            self.mounted.allow(limit_s)

    def rest(self) -> None:
        """Let no time count until the next test comes: others may come first."""
        if self.mounted is not None:
            self.mounted.rest()

    def new_folder(self) -> Path:
        """Make a directory in which everybody may do anything."""
        path = self.root / f"{next(_numbers):04d}"
        path.mkdir()
        path.chmod(0o777)
        return path


@pytest.fixture(scope="session")
def posix_base() -> Iterator[Path]:
    """A directory that other users can reach, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="storefs-posix-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session", params=["local", "bridge", "plain"])
def site(request: pytest.FixtureRequest, posix_base: Path) -> Iterator[Site]:
    base = posix_base / request.param
    base.mkdir()
    umask = os.umask(0o022)
    try:
        if request.param == "local":
            yield Site("local", base, None)
        else:
            options = {**QUICK, "bridge": "yes" if request.param == "bridge" else "no"}
            if os.geteuid() == 0:
                options["allow_other"] = "yes"
            with Mounted(str(base / "store"), base, options, {"XDG_CONFIG_HOME": str(base / "no-config")}) as mounted:
                yield Site(request.param, mounted.path, mounted)
    finally:
        os.umask(umask)


@pytest.fixture
def place_to_be(site: Site) -> Iterator[Site]:
    """The site, with a watchdog, and a current directory that is given back."""
    site.allow()
    back = Path.cwd()
    yield site
    os.chdir(back)
    site.rest()


@pytest.fixture
def folder(place_to_be: Site) -> Path:
    """An empty directory for one test, made the current one."""
    path = place_to_be.new_folder()
    os.chdir(path)
    return path


@pytest.fixture(scope="module")
def stage_root(site: Site) -> Path:
    site.allow()
    path = site.new_folder()
    stages.make(path)
    site.rest()
    return path


@pytest.fixture
def stage(place_to_be: Site, stage_root: Path) -> Path:
    """The stage, made the current directory. Only for calls that change nothing."""
    os.chdir(stage_root)
    return stage_root


@pytest.fixture(scope="session")
def _actors() -> Iterator[dict[str, Actor]]:
    with Actor(os.geteuid(), os.getegid()) as other:
        if os.geteuid() != 0:
            yield {"other": other}
            return
        with Actor(stages.NOBODY, stages.NOBODY) as nobody:
            yield {"other": other, "nobody": nobody}


@pytest.fixture
def root() -> Caller:
    """This process, if it is root's."""
    _require_root()
    return Caller()


@pytest.fixture
def nobody(_actors: dict[str, Actor]) -> Actor:
    """A process without any right, in the current directory."""
    _require_root()
    _actors["nobody"].chdir(os.fsencode(Path.cwd()))
    return _actors["nobody"]


@pytest.fixture
def other(_actors: dict[str, Actor]) -> Actor:
    """Another process of the same user, in the current directory."""
    _actors["other"].chdir(os.fsencode(Path.cwd()))
    return _actors["other"]


@pytest.fixture(params=["root", "nobody"])
def who(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def caller(who: str, request: pytest.FixtureRequest) -> Caller:
    """Each kind of user in turn. Ask for it after ``folder`` or ``stage``."""
    found = request.getfixturevalue(who)
    assert isinstance(found, Caller)
    return found


def _require_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
