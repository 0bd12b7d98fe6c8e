"""Random system calls on a local directory and on a mount, side by side; a program, for it gives its user away.

python -m tests.mount.side_by_side.run LOCAL MOUNTED --seed N --calls N [--uid N] [--no-bridge]

Both are empty directories. It fails with the first call after which the two differ, and says the last calls before.
"""

import argparse
import contextlib
import os
import random
import stat
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from storefs.testing.reference.filesystem import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE
from tests.mount.side_by_side.calls import SLOTS, Side, answer
from tests.mount.side_by_side.compare import Differs, Pair, compare_descriptors, probe
from tests.mount.side_by_side.draw import TOP, Drawer

_AS_ROOT_FIRST = 150
"""Calls that root makes before another user takes over: so that there are files of others."""

_EVERYTHING_EACH = 150
_CLOCK_TICK_S = 0.012
_SHOWN = 40
_WORDS_MAX = 160


class Runner:
    """Draws calls, makes each on both sides, and compares.

    Attributes:
        told: the last calls and what came of them.
    """

    def __init__(self, pair: Pair, chance: random.Random, *, bridge: bool, tick_s: float) -> None:
        self._pair = pair
        self._chance = chance
        self._drawer = Drawer(chance)
        self._bridge = bridge
        self._tick_s = tick_s
        self.told: deque[str] = deque(maxlen=_SHOWN)
        self.succeeded = 0

    def run(self, calls: int) -> None:
        for number in range(calls):
            if self._tick_s:  # each change gets a time of its own
                time.sleep(self._tick_s)
            self._drawer.open = [slot for slot, fd in enumerate(self._pair.local.fds) if fd is not None]
            verb, operands = self._drawer.draw()
            self._step(verb, operands)
            self._drawer.paths, self._drawer.directories = paths, directories = self._pair.walk()
            self._pair.check_attributes(paths)
            if number % _EVERYTHING_EACH == 0 or number == calls - 1:
                self._pair.check_everything(paths, directories)
                self._check_open_files()

    def _step(self, verb: str, operands: tuple[Any, ...]) -> None:
        local, mounted = self._pair.local, self._pair.mounted
        words = f"{verb}{operands}"
        self.told.append(words[:_WORDS_MAX])
        self._pair.any_times = False
        if verb == "fallocate" and not self._bridge:
            found = answer(mounted, verb, operands)
            if found[0] == "answers":
                raise Differs("fallocate succeeded without the bridge")
            return
        if verb == "lseek" and self._is_directory(operands[0]):
            return  # places in a listing are the filesystem's own
        if verb == "lseek" and operands[2] in (os.SEEK_DATA, os.SEEK_HOLE):
            self._seek(*operands)
            return
        self._pair.any_times = self._leaves_times_open(verb, operands)
        wanted = answer(local, verb, operands)
        found = answer(mounted, verb, operands)
        self.told[-1] += f": {wanted[0]} {wanted[1]!r}"[:_WORDS_MAX]
        self.succeeded += wanted[0] == "answers"
        if wanted != found:
            detail = f"the local side {wanted[0]} {wanted[1]!r}, the mount {found[0]} {found[1]!r}"
            raise Differs(detail[:1000])

    def _is_directory(self, slot: int) -> bool:
        fd = self._pair.local.fds[slot]
        return fd is not None and stat.S_ISDIR(os.fstat(fd).st_mode)

    def _leaves_times_open(self, verb: str, operands: tuple[Any, ...]) -> bool:
        """Whether a call may change times or not: it changes nothing else, or the kernel keeps it to itself."""
        local = self._pair.local
        with contextlib.suppress(OSError):
            if verb == "fallocate":
                slot, mode, offset, length = operands
                size = os.fstat(local.fd(slot)).st_size
                clears = mode & (PUNCH_HOLE | ZERO_RANGE) and offset < size
                return not clears and (bool(mode & KEEP_SIZE) or offset + length <= size)
            if verb == "truncate":  # ftruncate always changes them, and the kernel sends both alike
                name, size = operands
                return bool(os.stat(local.path(name)).st_size == size)
            if verb == "setxattr":
                name, xattr, value, _, follow = operands
                return bool(local.getxattr(name, xattr, follow) == value)
            if verb == "fsetxattr":
                slot, xattr, value = operands
                return bool(os.getxattr(local.fd(slot), xattr) == value)
            if verb in ("read", "write"):  # what goes through a fifo is not seen by its filesystem
                return stat.S_ISFIFO(os.fstat(local.fd(operands[0])).st_mode)
        return False

    def _seek(self, slot: int, offset: int, whence: int) -> None:
        """Look for data or holes: each side may have its own holes, but none where a byte is not zero."""
        local, mounted = self._pair.local.fds[slot], self._pair.mounted.fds[slot]
        if local is None or mounted is None:
            return
        wanted = answer(self._pair.local, "lseek", (slot, offset, whence))
        found = answer(self._pair.mounted, "lseek", (slot, offset, whence))
        status = os.fstat(local)
        size = status.st_size
        if not stat.S_ISREG(status.st_mode) or not 0 <= offset < size:
            if wanted != found:
                raise Differs(f"the local side {wanted}, the mount {found}")
            return
        self._judge_seek(local, offset, size, whence, found)
        os.lseek(local, 0, os.SEEK_SET)
        os.lseek(mounted, 0, os.SEEK_SET)

    def _judge_seek(self, local: int, offset: int, size: int, whence: int, found: tuple[str, Any]) -> None:
        if not self._bridge:
            if found != ("answers", offset if whence == os.SEEK_DATA else size):
                raise Differs(f"without the bridge all is data, but the mount {found}")
            return
        if found != ("fails with", "ENXIO") and found[0] != "answers":
            raise Differs(f"the mount {found}")
        try:
            content = os.pread(local, size, 0)
        except OSError:  # opened for writing only
            return
        at = size if found[0] != "answers" else found[1]
        if whence == os.SEEK_DATA:
            legal = offset <= at <= size and not any(content[offset:at]) and found[1] != size
        else:
            legal = found[0] == "answers" and offset <= at <= size and not any(content[at : at + 1])
        if not legal:
            raise Differs(f"the mount {found}, the file has {size} bytes")

    def _check_open_files(self) -> None:
        for slot in range(SLOTS):
            one, other = self._pair.local.fds[slot], self._pair.mounted.fds[slot]
            if one is None or other is None or not stat.S_ISREG(os.fstat(one).st_mode):
                continue
            try:
                os.pread(one, 0, 0)
            except OSError:  # opened for writing only
                continue
            compare_descriptors(f"slot {slot}", one, other)


def _let_the_kernel_learn(mounted: Side) -> None:
    """Call fallocate once: it takes set-user-ID bits away before it knows that the mount has no such call."""
    with tempfile.TemporaryFile(dir=mounted.path("")) as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("local", type=Path)
    parser.add_argument("mounted", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--uid", type=int, help="who makes the calls, after the first few")
    parser.add_argument("--no-bridge", action="store_true", help="the mount is without it")
    given = parser.parse_args()
    os.umask(0o022)
    local, mounted = Side(given.local), Side(given.mounted)
    able = probe(local)
    for side in (local, mounted):
        os.mkdir(side.path(TOP))
        os.chmod(side.path(TOP), 0o777)
    if given.no_bridge:
        _let_the_kernel_learn(mounted)
    tick_s = 0.0 if able.fine_times else _CLOCK_TICK_S
    runner = Runner(Pair(local, mounted, able), random.Random(given.seed), bridge=not given.no_bridge, tick_s=tick_s)
    try:
        if given.uid is not None:
            runner.run(_AS_ROOT_FIRST)
            os.setgroups([])
            os.setgid(given.uid)
            os.setuid(given.uid)
            runner.told.append(f"--- from here on as user {given.uid}")
        runner.run(given.calls)
    except Exception as error:
        print(*runner.told, sep="\n")
        print(f"{type(error).__name__}: {error}" if isinstance(error, Differs) else repr(error))
        print(f"replay: --seed {given.seed} --calls {given.calls}; the local side: {able}")
        if not isinstance(error, Differs):
            raise
        sys.exit(1)
    print(f"seed {given.seed}: {given.calls} calls, {runner.succeeded} of them succeeded; the local side: {able}")


if __name__ == "__main__":
    main()
