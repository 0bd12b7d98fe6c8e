"""What all peers have in common: a place of their own, a mount that comes and goes, a cache that can be thrown away."""

import contextlib
import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from benchmarks.command import BIN, Failed, kill_group, run
from benchmarks.machine import is_mounted
from storefs.testing.s3server import S3Server

_MOUNT_LIMIT_S = 60.0
_END_LIMIT_S = 120.0
_LOG_TAIL_BYTES = 2000


class Peer(ABC):
    """One filesystem with one store, whose local files are all below ``home``.

    Attributes:
        key: its name on the command line, and of its bucket.
        name: its name in tables.
        program: what has to be installed for it, if anything.
        directory: where its files are while it is mounted.
        cache: its directory of cached data.
    """

    key: ClassVar[str]
    name: ClassVar[str]
    program: ClassVar[str | None] = None

    def __init__(self, home: Path, server: S3Server) -> None:
        self.home = home
        self.server = server
        self.mountpoint = home / "mnt"
        self.directory = self.mountpoint
        self.cache = home / "cache"

    @classmethod
    def is_here(cls) -> bool:
        """Return whether its program is installed."""
        return cls.program is None or (BIN / cls.program).exists()

    def prepare(self) -> None:
        """Make its store, empty."""
        self.mountpoint.mkdir(parents=True)

    @abstractmethod
    def mount(self, *, ro: bool = False) -> None:
        """Mount its store with the cache as it is; return when ``directory`` can be used."""

    @abstractmethod
    def umount(self) -> None:
        """Unmount; return when its process has ended."""

    @abstractmethod
    def kill(self) -> None:
        """Take it away whatever state it is in; nothing waits for it afterwards."""

    def settle(self) -> None:  # noqa: B027 - most peers have nothing to wait for
        """Return when all that was written is in its store. By default it is when the file is closed."""

    def forget(self) -> None:
        """Throw the cache away; it must not be mounted."""
        shutil.rmtree(self.cache, ignore_errors=True)

    @contextlib.contextmanager
    def mounted(self, *, ro: bool = False, fresh: bool = False) -> Iterator[None]:
        """Be mounted inside the block; ``fresh`` throws the cache away first. What fails inside kills it."""
        if fresh:
            self.forget()
        try:
            self.mount(ro=ro)
            yield
            self.umount()
        except BaseException:
            self.kill()
            raise


class ForegroundPeer(Peer):
    """A peer whose mount is one process in the foreground, started and ended here."""

    def __init__(self, home: Path, server: S3Server) -> None:
        super().__init__(home, server)
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self, *, ro: bool) -> list[str | Path]:
        """Return the command line that mounts it."""

    def environment(self) -> dict[str, str]:
        """Return what its process gets besides this one's environment."""
        return {}

    def mount(self, *, ro: bool = False) -> None:
        """Start the process and wait for the mount."""
        self.cache.mkdir(exist_ok=True)
        with (self.home / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [str(word) for word in self.command(ro=ro)],
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                start_new_session=True,
            )
        until_s = time.monotonic() + _MOUNT_LIMIT_S
        while not is_mounted(self.mountpoint):
            if self._process.poll() is not None or time.monotonic() > until_s:
                raise Failed(f"{self.name} did not mount:\n{self._log_tail()}")
            time.sleep(0.05)
        run("ls", self.mountpoint, limit_s=_MOUNT_LIMIT_S)

    def umount(self) -> None:
        """Unmount and wait for the process."""
        process = self._process
        assert process is not None
        program = ["umount"] if os.geteuid() == 0 else ["fusermount3", "-u"]
        run(*program, self.mountpoint, limit_s=_END_LIMIT_S)
        try:
            process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} did not end after its unmount:\n{self._log_tail()}") from None
        self._process = None

    def kill(self) -> None:
        """Kill the process, which ends all that waits for it, and take the dead mount away."""
        if self._process is not None:
            kill_group(self._process)
            self._process = None
        program = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
        if is_mounted(self.mountpoint):
            with contextlib.suppress(Failed):
                run(*program, self.mountpoint, limit_s=_MOUNT_LIMIT_S)

    def _log_tail(self) -> str:
        return (self.home / "log.txt").read_text(errors="replace")[-_LOG_TAIL_BYTES:]
