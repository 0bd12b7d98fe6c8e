"""The warden: a small process beside a daemon that lets go of its mount when the daemon was killed and cannot end.

The threads that tell the kernel what to forget wait in there for locks that calls on the mount hold. Killed at that
moment, a daemon never ends: the call waits for its answer, the thread for the call, and ``/dev/fuse`` stays open with
the thread, so that the kernel does not take the mount for dead. It would hang for ever, and its cache stay locked.
Aborting the connection lets the call fail; all else follows.

The file is run as a program by itself, on nothing but the standard library: it has to be small, for it is always there.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

_LOOK_S = 1.0
_LOOKS = 2
"""So many times in a row a daemon that is killed must not have ended: usually that takes milliseconds."""

_TRIES = 60
_MNT_FORCE = 1


def start(mountpoint: Path, connection: str) -> None:
    """Watch this process and its mount, whose FUSE connection has the number ``connection``, for as long as it lives.

    A mount without a warden works as well: failing to start one is no error.
    """
    with contextlib.suppress(OSError):
        subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), connection, str(mountpoint)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )


def _watch(pid: int, connection: str, mountpoint: str) -> None:
    """Return when the process has ended, however that came."""
    daemon = os.pidfd_open(pid)
    ended = select.poll()
    ended.register(daemon, select.POLLIN)
    looks = 0
    while not ended.poll(1000 * _LOOK_S):
        looks = looks + 1 if _is_killed(pid) else 0
        if looks >= _LOOKS:
            _abort(connection, mountpoint)
        if looks == _LOOKS:
            said = "was killed while the kernel waited for it: calls on the mount fail now"
            sys.stderr.write(f"storefs: the daemon of {mountpoint} {said}\n")
        if looks > _TRIES:
            return


def _is_killed(pid: int) -> bool:
    """Whether the first thread of a process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] in ("Z", "X")


def _abort(connection: str, mountpoint: str) -> None:
    """Let all calls on the mount fail: by the control file of its connection, else by force."""
    try:
        Path(f"/sys/fs/fuse/connections/{connection}/abort").write_text("1")
    except OSError:
        ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(mountpoint), _MNT_FORCE)


def main() -> None:
    """Be the warden of the process, connection and mountpoint on the command line."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the daemon; this ends with it
        signal.signal(number, signal.SIG_IGN)
    pid, connection, mountpoint = sys.argv[1:]
    if os.getppid() == int(pid):
        _watch(int(pid), connection, mountpoint)


if __name__ == "__main__":
    main()
