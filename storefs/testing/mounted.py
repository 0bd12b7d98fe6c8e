"""A real mount for tests: a daemon that can be killed, stopped and brought back, under a limit that ends every hang."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from storefs.errors import StorefsError
from storefs.settings import join_options

START_S = 30.0
COMMAND_S = 60.0
_CONNECTIONS = Path("/sys/fs/fuse/connections")
_LOG_TAIL_BYTES = 4000


class MountFailed(StorefsError):
    """The daemon did not mount, hung, or a command on it failed; the text ends with its log."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


def run_storefs(
    *arguments: str | Path, environment: Mapping[str, str] | None = None, limit_s: float = COMMAND_S
) -> subprocess.CompletedProcess[str]:
    """Run the command ``storefs`` and return how it ended, never hanging for more than ``limit_s``."""
    return subprocess.run(
        [sys.executable, "-m", "storefs.cli.main", *map(str, arguments)],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
        cwd="/",
    )


class Mounted:
    """A daemon that has ``source`` mounted at ``path``; ``with`` starts it and cleans up whatever happened.

    Attributes:
        path: the mountpoint.
        folder: where the mountpoint, the cache directories and the log are.
        options: settings of the next start.
        environment: what the daemon gets besides this process's environment.
    """

    def __init__(
        self,
        source: str,
        folder: Path,
        options: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        limit_s: float = 90.0,
    ) -> None:
        self.source = source
        self.folder = folder
        self.path = folder / "mnt"
        self.options = dict(options or {})
        self.environment = dict(environment or {})
        self._limit_s = limit_s
        self._caches = 1
        self._daemon: subprocess.Popen[bytes] | None = None
        self._connection: str | None = None
        self._watchdog: threading.Timer | None = None
        self.hung = False

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        self.allow(self._limit_s)
        try:
            self.start()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clean_up()
        if error is not None:
            error.add_note(self._story())
        if self.hung:
            raise MountFailed(self._story()) from error

    @property
    def cache(self) -> Path:
        """The cache directory in use."""
        return self.folder / f"cache-{self._caches}"

    @property
    def log(self) -> str:
        """What the daemon has said so far."""
        file = self.folder / "daemon.log"
        return file.read_text(errors="replace") if file.exists() else ""

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self._daemon is not None
        return self._daemon.pid

    def allow(self, limit_s: float) -> None:
        """From now on, ``limit_s`` pass before the mount is ended as one that hangs."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._limit_s = limit_s
        self._watchdog = threading.Timer(limit_s, self._end_hang)
        self._watchdog.daemon = True
        self._watchdog.start()

    def rest(self) -> None:
        """From now on nobody uses the mount until ``allow`` is called: no time counts."""
        if self._watchdog is not None:
            self._watchdog.cancel()

    def start(self) -> None:
        """Start the daemon and return when the mount is up. Raises MountFailed with its message and exit code."""
        assert self._daemon is None, "it runs already"
        options = {"cache_dir": str(self.cache), **self.options}
        line = [sys.executable, "-m", "storefsd", self.source, str(self.path), "-o", join_options(options)]
        read_end, write_end = os.pipe()
        try:
            with (self.folder / "daemon.log").open("ab") as log:
                self._daemon = subprocess.Popen(
                    [*line, "--ready-fd", str(write_end)],
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[write_end],
                    start_new_session=True,
                    cwd="/",
                )
        finally:
            os.close(write_end)
        said = _words(read_end)
        if not said.endswith("READY\n"):
            if self._daemon.poll() is None and "ERROR" not in said:
                self._daemon.kill()
            code = self.wait()
            raise MountFailed(f"no mount: {said!r}\n{self._story()}", code)
        self._connection = _connection(self.path)

    def kill(self) -> None:
        """Kill the daemon as kill -9 does; its mountpoint stays, dead."""
        assert self._daemon is not None
        self._daemon.kill()
        self.wait()

    def terminate(self) -> int:
        """Ask the daemon to end as SIGTERM does; return its exit code."""
        assert self._daemon is not None
        self._daemon.terminate()
        return self.wait()

    def wait(self, limit_s: float = COMMAND_S) -> int:
        """Return the daemon's exit code when it has ended. Raises MountFailed when it does not."""
        assert self._daemon is not None
        try:
            code = self._daemon.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise MountFailed(f"the daemon did not end within {limit_s:g} s\n{self._story()}") from None
        self._daemon = None
        self._connection = None  # its number may be another mount's by now, perhaps that of another process's test
        return code

    def umount(self) -> None:
        """Commit everything and unmount, by the command. Raises MountFailed when one of both ended otherwise."""
        done = self.try_umount()
        code = self.wait() if done.returncode == 0 else None
        if done.returncode or code:
            raise MountFailed(f"umount: exit {done.returncode}, daemon {code}: {done.stderr}\n{self._story()}")

    def try_umount(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """Run ``storefs umount`` and return how it ended."""
        return run_storefs("umount", *flags, self.path, environment=self.environment)

    def remount(self, *, new_cache: bool = False) -> None:
        """Mount again after the daemon ended; ``new_cache`` removes the cache directory and takes another."""
        if new_cache:
            shutil.rmtree(self.cache)
            self._caches += 1
        self.start()

    def status(self) -> dict[str, Any]:
        """Return what ``storefs status`` shows."""
        document: dict[str, Any] = json.loads((self.path / ".storefs" / "status").read_bytes())
        return document

    def sync(self) -> None:
        """Return when everything written is in the store, by the control file. Raises MountFailed."""
        try:
            descriptor = os.open(self.path / ".storefs" / "sync", os.O_WRONLY)
            try:
                os.write(descriptor, b"1")
            finally:
                os.close(descriptor)
        except OSError as error:
            raise MountFailed(f"sync: {error}\n{self._story()}") from error

    def _end_hang(self) -> None:
        """Make every call that waits for this mount fail, from the watchdog's thread."""
        self.hung = True
        _abort(self._connection)
        if self._daemon is not None:
            self._daemon.kill()

    def _clean_up(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        _abort(self._connection)
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait(COMMAND_S)
            self._daemon = None
        end_mounts(self.path)

    def _story(self) -> str:
        head = f"the mount hung for more than {self._limit_s:g} s; " if self.hung else ""
        return f"{head}log of {self.folder.name}, its end:\n{self.log[-_LOG_TAIL_BYTES:]}"


def _words(read_end: int) -> str:
    """Return all that the daemon says until it is ready, failed or ended, or START_S have passed without a word."""
    said = b""
    try:
        while select.select([read_end], [], [], START_S)[0]:
            part = os.read(read_end, 4096)
            said += part
            if not part or said.endswith(b"READY\n"):
                break
    finally:
        os.close(read_end)
    return said.decode(errors="replace")


def _connection(path: Path) -> str | None:
    """Return the number of the FUSE connection mounted last at ``path``, without asking the mount itself."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        if fields[4] == str(path).replace(" ", "\\040"):
            found = fields[2].partition(":")[2]
    return found


def end_mounts(path: Path) -> None:
    """Take away whatever storefs is mounted at ``path``, hanging or not, and kill the daemons that serve it."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"storefsd" in words and os.fsencode(path) in words:
                os.kill(int(folder.name), signal.SIGKILL)
    program = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
    while (connection := _connection(path)) is not None:  # more than once: one may be mounted over a dead one
        _abort(connection)
        if subprocess.run([*program, str(path)], check=False, capture_output=True).returncode:
            break


def _abort(connection: str | None) -> None:
    """Make every call that waits for a FUSE connection fail."""
    if connection is None:
        return
    control = _CONNECTIONS / connection / "abort"
    if not control.exists():
        subprocess.run(["mount", "-t", "fusectl", "fusectl", str(_CONNECTIONS)], check=False, capture_output=True)
    with contextlib.suppress(OSError):  # gone already, or not ours to abort: then killing the daemon must do
        control.write_text("1")
