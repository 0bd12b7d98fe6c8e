"""A mount beside a local directory: the same random system calls, the same answers, the same tree.

STOREFS_SEED replays a run, STOREFS_SOAK=20 makes it twenty times as long.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefs.testing.mounted import Mounted
from tests.mount.places import QUICK

pytestmark = pytest.mark.mount

ROOT = Path(__file__).resolve().parent.parent.parent
SOAK = int(os.environ.get("STOREFS_SOAK", "") or 1)
CALLS = 2500
NOBODY = 65534
LIMIT_S = 120 * SOAK


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that any user may enter; those of pytest are for its own user."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("uid", [None, NOBODY], ids=["own user", "other user"])
@pytest.mark.parametrize("bridge", ["yes", "no"], ids=["bridge", "no bridge"])
def test_the_mount_does_what_the_local_directory_does(folder: Path, seed: int, bridge: str, uid: int | None) -> None:
    if uid is not None and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    options = {**QUICK, "bridge": bridge, "cache_size": "1G"}
    if uid is not None:
        options["allow_other"] = "yes"
    local = folder / "local"
    local.mkdir()
    with Mounted(str(folder / "store"), folder, options, limit_s=0.75 * LIMIT_S) as mount:
        line = [sys.executable, "-m", "tests.mount.side_by_side.run", str(local), str(mount.path)]
        line += ["--seed", str(seed), "--calls", str(CALLS * SOAK)]
        line += ["--uid", str(uid)] if uid is not None else []
        line += ["--no-bridge"] if bridge == "no" else []
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=0.9 * LIMIT_S, check=False)
        print(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr
        assert mount.status()["errors"] == 0
