"""A read-only mount: everything can be read, and every change is refused with EROFS."""

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefs.testing.mounted import Mounted
from tests.mount.places import QUICK
from tests.mount.posix import stage as stages
from tests.mount.posix.actor import Caller
from tests.mount.posix.stage import Refusal, refusals, seen

pytestmark = pytest.mark.mount

_SOME = (5, 5)


@pytest.fixture(scope="module", params=["local", "mount"])
def read_only_stage(request: pytest.FixtureRequest, posix_base: Path) -> Iterator[Path]:
    """The stage where nothing can be changed: a bind mount of a local directory, or a mount with the option ro."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount and to become another user")
    base = posix_base / f"read-only-{request.param}"
    base.mkdir()
    if request.param == "local":
        stages.make(base)
        subprocess.run(["mount", "--bind", base, base], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", base], check=True)
            yield base
        finally:
            subprocess.run(["umount", "-l", base], check=True)
        return
    options = {**QUICK, "allow_other": "yes"}
    with Mounted(str(base / "store"), base, options, {"XDG_CONFIG_HOME": str(base / "no-config")}) as mounted:
        (mounted.path / "stage").mkdir()
        stages.make(mounted.path / "stage")
        mounted.umount()
        mounted.options["ro"] = "yes"
        mounted.start()
        yield mounted.path / "stage"


@pytest.fixture
def here(read_only_stage: Path) -> Iterator[Path]:
    back = Path.cwd()
    os.chdir(read_only_stage)
    yield read_only_stage
    os.chdir(back)


@refusals(
    Refusal("create", errno.EROFS, lambda c: c.open(b"new", os.O_WRONLY | os.O_CREAT)),
    Refusal("create-for-reading", errno.EROFS, lambda c: c.open(b"new", os.O_RDONLY | os.O_CREAT)),
    Refusal("open-for-writing", errno.EROFS, lambda c: c.open(b"writable", os.O_WRONLY)),
    Refusal("open-for-both", errno.EROFS, lambda c: c.open(b"writable", os.O_RDWR)),
    Refusal("open-truncating", errno.EROFS, lambda c: c.open(b"writable", os.O_RDONLY | os.O_TRUNC)),
    Refusal("create-existing", errno.EEXIST, lambda c: c.open(b"writable", os.O_RDONLY | os.O_CREAT | os.O_EXCL)),
    Refusal("mkdir", errno.EROFS, lambda c: c.mkdir(b"new")),
    Refusal("mkdir-existing", errno.EEXIST, lambda c: c.mkdir(b"folder")),
    Refusal("rmdir", errno.EROFS, lambda c: c.rmdir(b"folder")),
    Refusal("unlink", errno.EROFS, lambda c: c.unlink(b"file")),
    Refusal("link", errno.EROFS, lambda c: c.linkat(b"mine", b"new", 0)),
    Refusal("symlink", errno.EROFS, lambda c: c.symlink(b"target", b"new")),
    Refusal("rename", errno.EROFS, lambda c: c.rename(b"file", b"new")),
    Refusal("exchange", errno.EROFS, lambda c: c.renameat2(b"file", b"mine", 2)),
    Refusal("mknod", errno.EROFS, lambda c: c.mknod(b"new", stat.S_IFREG | 0o644)),
    Refusal("mkfifo", errno.EROFS, lambda c: c.mkfifo(b"new")),
    Refusal("truncate", errno.EROFS, lambda c: c.truncate(b"writable", 0)),
    Refusal("chmod", errno.EROFS, lambda c: c.chmod(b"mine", 0o600)),
    Refusal("chmod-open", errno.EROFS, lambda c: c.open_and("fchmod", b"mine", os.O_RDONLY, 0o600)),
    Refusal("chown", errno.EROFS, lambda c: c.chown(b"mine", -1, -1)),
    Refusal("utimens", errno.EROFS, lambda c: c.utimensat(b"mine", _SOME, _SOME)),
    Refusal("utime-now", errno.EROFS, lambda c: c.utime_now(b"writable")),
    Refusal("setxattr", errno.EROFS, lambda c: c.setxattr(b"mine", b"user.new", b"1")),
    Refusal("removexattr", errno.EROFS, lambda c: c.removexattr(b"mine", b"user.new")),
    Refusal("access", errno.EROFS, lambda c: c.may(b"writable", os.W_OK)),
    Refusal("access-folder", errno.EROFS, lambda c: c.may(b"full", os.W_OK)),
    Refusal("missing", errno.ENOENT, lambda c: c.open(b"missing", os.O_RDONLY)),
)
def test_refused(here: Path, refusal: Refusal, caller: Caller) -> None:
    refusal.check(caller, is_mount=True)


def test_everything_can_be_read(here: Path, caller: Caller) -> None:
    assert caller.open_and("pread", b"writable", os.O_RDONLY, 10, 0) == b"content"
    assert caller.readlink(b"link") == b"file"
    assert sorted(caller.listdir(b"full")) == [b"file", b"sub"]
    assert caller.statvfs(b".")[8] & os.ST_RDONLY
    caller.may(b"writable", os.R_OK)
    assert len(seen(b".")) > 20
