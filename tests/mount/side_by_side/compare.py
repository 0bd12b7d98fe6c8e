"""Comparing two trees after each call: attributes, which times moved, and now and then all names and bytes."""

import contextlib
import mmap
import os
import stat
from dataclasses import dataclass

from tests.mount.side_by_side.calls import SLOTS, Side, answer, seen
from tests.mount.side_by_side.draw import TOP

FIELDS = ("mode", "nlink", "uid", "gid", "size", "rdev")


class Differs(AssertionError):
    """The mount did not do what the local directory did."""


@dataclass(frozen=True, slots=True)
class Local:
    """What the local filesystem is able to show.

    Attributes:
        counts_subdirectories: whether a directory's link count does.
        fine_times: whether each of two changes in a row has a time of its own, if somebody looked in between.
    """

    counts_subdirectories: bool
    fine_times: bool


def probe(side: Side) -> Local:
    """Find out what the local filesystem is able to show."""
    directory, file = side.path("probe"), side.path("probe/file")
    os.makedirs(f"{directory}/below")
    counts = os.stat(directory).st_nlink == 3
    os.mknod(file)
    times: set[int] = set()
    for _ in range(20):
        os.truncate(file, len(times) + 1)
        times.add(os.stat(file).st_mtime_ns)
    os.unlink(file)
    os.rmdir(f"{directory}/below")
    os.rmdir(directory)
    return Local(counts, len(times) == 20)


class Pair:
    """The local side and the mounted one, and what is known of both.

    Attributes:
        any_times: whether the last call may have moved times on one side alone.
    """

    def __init__(self, local: Side, mounted: Side, able: Local) -> None:
        self.local = local
        self.mounted = mounted
        self._able = able
        self._nameless: set[tuple[int, int]] = set()
        self._times: dict[tuple[int, int], tuple[tuple[int, int], tuple[int, int]]] = {}
        self.any_times = False

    def walk(self) -> tuple[list[str], list[str]]:
        """Return what exists on the local side below TOP, and the directories among it, in order; both with TOP."""
        paths, directories = [], [TOP]
        for at in directories:
            try:
                found = sorted(os.scandir(self.local.path(at)), key=lambda entry: entry.name)
            except PermissionError:
                continue
            for entry in found:
                paths.append(f"{at}/{entry.name}")
                if entry.is_dir(follow_symlinks=False):
                    directories.append(paths[-1])
        return paths, directories

    def check_attributes(self, paths: list[str]) -> None:
        """Compare what stat says of all paths and descriptors."""
        partners: dict[int, int] = {}
        for path in [TOP, *paths]:
            try:
                one = os.lstat(self.local.path(path))
            except PermissionError:
                continue
            try:
                self._compare(path, one, os.lstat(self.mounted.path(path)), partners)
            except OSError as error:
                raise Differs(f"{path!r} exists, but lstat on the mount fails: {error}") from None
        for slot in range(SLOTS):
            one_fd, other_fd = self.local.fds[slot], self.mounted.fds[slot]
            if (one_fd is None) != (other_fd is None):
                raise Differs(f"only one side has slot {slot} open")
            if one_fd is not None and other_fd is not None:
                self._compare(f"slot {slot}", os.fstat(one_fd), os.fstat(other_fd), partners)
                places = [
                    os.lseek(fd, 0, os.SEEK_CUR) for fd in (one_fd, other_fd) if stat.S_ISREG(os.fstat(fd).st_mode)
                ]
                if len(set(places)) > 1:
                    raise Differs(f"slot {slot} is at {places}")
        if len(set(partners.values())) != len(partners):
            raise Differs("two files of the local side are one file on the mount")

    def _compare(self, what: str, one: os.stat_result, other: os.stat_result, partners: dict[int, int]) -> None:
        wanted, found = list(seen(one)), list(seen(other))
        if stat.S_ISDIR(one.st_mode) and not self._able.counts_subdirectories:
            wanted[1] = found[1] = 0
        for name, mine, theirs in zip(FIELDS, wanted, found, strict=True):
            if mine != theirs:
                form = "#o" if name == "mode" else "d"
                raise Differs(f"{what!r}: {name} is {mine:{form}} on the local side, {theirs:{form}} on the mount")
        if partners.setdefault(one.st_ino, other.st_ino) != other.st_ino:
            raise Differs(f"{what!r} is another name of a file on the local side, and not on the mount")
        pair = one.st_ino, other.st_ino
        now = (one.st_mtime_ns, one.st_ctime_ns), (other.st_mtime_ns, other.st_ctime_ns)
        before = self._times.get(pair, now)
        self._times[pair] = now
        if one.st_nlink == 0 and pair not in self._nameless:
            self._nameless.add(pair)
            return  # POSIX does not say whether the removal of the last name changes the times of what is left
        if self.any_times:
            return
        for number, name in enumerate(("mtime", "ctime")):
            wants, moves = (before[side][number] != now[side][number] for side in (0, 1))
            if wants and not moves:
                raise Differs(f"{what!r}: {name} moved on the local side, not on the mount")
            if moves and not wants and self._able.fine_times:
                raise Differs(f"{what!r}: {name} moved on the mount, not on the local side")

    def check_everything(self, paths: list[str], directories: list[str]) -> None:
        """Compare names, bytes, targets and extended attributes of everything that can be read."""
        for path in directories:
            self._same("listdir", path)
        for path in paths:
            self._same("readlink", path)
            self._same("listxattr", path, False)
            for xattr in ("user.a", "user.b", "trusted.a"):
                self._same("getxattr", path, xattr, False)
            with contextlib.suppress(OSError):
                if stat.S_ISREG(os.lstat(self.local.path(path)).st_mode):
                    self._compare_bytes(path)

    def _same(self, verb: str, *operands: object) -> None:
        one, other = answer(self.local, verb, operands), answer(self.mounted, verb, operands)
        if one != other:
            raise Differs(f"{verb}{operands}: the local side {one[0]} {one[1]!r}, the mount {other[0]} {other[1]!r}")

    def _compare_bytes(self, path: str) -> None:
        try:
            one = os.open(self.local.path(path), os.O_RDONLY)
        except PermissionError:
            return
        other = os.open(self.mounted.path(path), os.O_RDONLY)
        try:
            compare_descriptors(path, one, other)
        finally:
            os.close(one)
            os.close(other)


def compare_descriptors(what: str, one: int, other: int) -> None:
    """Compare the bytes of two files that are open for reading, read and mapped."""
    size = os.fstat(one).st_size
    wanted, read = os.pread(one, size + 1, 0), os.pread(other, size + 1, 0)
    if wanted != read:
        raise Differs(f"{what!r}: {first_difference(wanted, read)}")
    if size:
        with mmap.mmap(other, size, prot=mmap.PROT_READ) as pages:
            if pages[:] != wanted:
                raise Differs(f"{what!r}, mapped: {first_difference(wanted, pages[:])}")


def first_difference(wanted: bytes, found: bytes) -> str:
    if len(wanted) != len(found):
        return f"{len(wanted)} bytes on the local side, {len(found)} on the mount"
    at = next((at for at in range(len(wanted)) if wanted[at] != found[at]), None)
    return (
        f"byte {at} of {len(wanted)} is {wanted[at]} on the local side, {found[at]} on the mount"
        if at is not None
        else "no difference"
    )
