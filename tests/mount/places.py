"""Places that become stores, and what else the mount tests share."""

import contextlib
import errno
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from storefs import wiring
from storefs.metrics import Metrics
from storefs.model import ObjectInfo
from storefs.settings import resolve
from storefs.testing.mounted import Mounted

QUICK = {"commit_interval": "1s", "poll_interval": "200ms"}
"""Options that make a mount do in a test what it would do in a minute."""

Mounts = Callable[..., Mounted]
"""The fixture that makes mounts of places."""


@dataclass(frozen=True, slots=True)
class Place:
    """An empty place that the first mount makes a store."""

    source: str
    options: dict[str, str] = field(default_factory=dict)

    def objects(self) -> list[ObjectInfo]:
        """Return what is in the store."""
        return trio.run(self._objects)

    def put(self, key: str, content: bytes) -> None:
        """Put an object there behind storefs' back."""
        trio.run(self._put, key, content)

    async def _put(self, key: str, content: bytes) -> None:
        store = wiring.connect(self.source, resolve(self.options, {}, None), Metrics())
        await store.put(key, content)
        await store.close()

    async def _objects(self) -> list[ObjectInfo]:
        store = wiring.connect(self.source, resolve(self.options, {}, None), Metrics())
        found: list[ObjectInfo] = []
        try:
            while page := await store.list_after("", found[-1].key if found else ""):
                found += page
        finally:
            await store.close()
        return found


def run(*command: str | Path, cwd: Path | None = None, limit_s: float = 200.0) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; its output is text whatever the bytes."""
    line = [str(word) for word in command]
    return subprocess.run(
        line, cwd=cwd or "/", capture_output=True, text=True, errors="replace", timeout=limit_s, check=False
    )


def succeed(*command: str | Path, cwd: Path | None = None, limit_s: float = 200.0) -> str:
    """Run a program that must not fail; return what it printed."""
    done = run(*command, cwd=cwd, limit_s=limit_s)
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def refused(*numbers: int) -> Iterator[None]:
    """Hold if what is inside fails with one of these errnos."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its errno is what counts
        yield
    names = [errno.errorcode[number] for number in numbers]
    assert caught.value.errno in numbers, f"{caught.value!r}, not {names}"


def eventually(holds: Callable[[], bool], *, pause_s: float = 0.1, limit_s: float = 60.0) -> None:
    """Return when something holds; fail if that takes very long."""
    until_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < until_s, "it did not come to hold"
        time.sleep(pause_s)
