"""A process of its own, often of another user, that makes one system call after another as it is told.

python actor.py UID GID: reads lines from standard input, each a call as (name, arguments), and answers with a line.
"""

import ast
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self

from tests.mount.posix import calls


class Caller:
    """This process: each attribute is a system call."""

    uid = os.geteuid()
    gid = os.getegid()

    def __getattr__(self, name: str) -> Any:
        return getattr(calls, name, None) or getattr(os, name)


class Actor(Caller):
    """Another process that makes the calls; what fails there fails here, with the same errno."""

    def __init__(self, uid: int, gid: int) -> None:
        self.uid, self.gid = uid, gid
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mount.posix.actor", str(uid), str(gid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert self.getpid() == self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            print(repr((name, arguments, options)), file=self._process.stdin, flush=True)
            kind, value = ast.literal_eval(self._process.stdout.readline())
            if kind == "error":
                raise OSError(value, os.strerror(value))
            return SimpleNamespace(**value) if kind == "stat" else value

        return call


def _obey(here: Caller, line: str) -> tuple[str, Any]:
    name, arguments, options = ast.literal_eval(line)
    try:
        result = getattr(here, name)(*arguments, **options)
    except OSError as error:
        return "error", error.errno
    if isinstance(result, os.stat_result):
        return "stat", {field: getattr(result, field) for field in dir(result) if field.startswith("st_")}
    return "result", tuple(result) if isinstance(result, os.statvfs_result) else result


def main() -> None:
    uid, gid = int(sys.argv[1]), int(sys.argv[2])
    if (uid, gid) != (os.getuid(), os.getgid()):
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    os.umask(0o022)
    here = Caller()
    with contextlib.suppress(KeyboardInterrupt):
        for line in sys.stdin:
            print(repr(_obey(here, line)), flush=True)


if __name__ == "__main__":
    main()
