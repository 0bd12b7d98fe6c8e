"""What the machine is and what its kernel tells: caches, memory and time of processes, requests of a FUSE mount."""

import contextlib
import os
import platform
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import Failed, run

_DROP = Path("/proc/sys/vm/drop_caches")
_DIRECTORY_REQUESTS = (27, 28, 29, 44)
"""OPENDIR, READDIR, RELEASEDIR, READDIRPLUS: those come per directory or per page of a listing."""
_FORGETS = (2, 42)
"""FORGET, BATCH_FORGET: the kernel's memory management, no part of a call."""


def can_drop_caches() -> bool:
    """Return whether the kernel's caches can be emptied."""
    return os.geteuid() == 0 and os.access(_DROP, os.W_OK)


def drop_caches() -> None:
    """Write dirty pages out and empty the kernel's caches of pages, names and inodes."""
    run("sh", "-c", f"sync; echo 3 > {_DROP}", limit_s=300)


def anonymous_bytes(pid: int) -> int:
    """Return the memory of a process that is not a file's (RssAnon)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise Failed(f"process {pid} has no RssAnon")


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_mounted(path: Path) -> bool:
    """Return whether something is mounted at ``path``, without asking the mount itself."""
    return connection(path) is not None


def connection(path: Path) -> int | None:
    """Return the device minor of what is mounted last at ``path``: the number of a FUSE connection."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        if fields[4] == str(path).replace(" ", "\\040"):
            found = int(fields[2].partition(":")[2])
    return found


@dataclass
class Counted:
    """How many requests a mount's daemon got; None until the counting has ended, or where nothing can count."""

    number: int | None = None


@contextlib.contextmanager
def counted_requests(mountpoint: Path) -> Iterator[Counted]:
    """Count the requests that a FUSE mount sends its daemon, those for listing a directory and forgets left out."""
    counted = Counted()
    minor = connection(mountpoint)
    with contextlib.ExitStack() as stack:
        trace = stack.enter_context(_trace_folder())
        event = trace / "events" / "fuse" / "fuse_request_send" if trace is not None else None
        if trace is None or event is None or not event.exists():
            yield counted
            return
        others = " && ".join(f"opcode != {number}" for number in (*_DIRECTORY_REQUESTS, *_FORGETS))
        (event / "filter").write_text(f"connection == {minor} && {others}")
        (event / "enable").write_text("1")
        try:
            yield counted
        finally:
            (event / "enable").write_text("0")
            counted.number = _events(trace)


def _events(trace: Path) -> int:
    """Return how many events came, those included that the buffer no longer holds."""
    total = 0
    for stats in trace.glob("per_cpu/cpu*/stats"):
        for line in stats.read_text().splitlines():
            name, _, value = line.partition(": ")
            if name in ("entries", "overrun"):
                total += int(value)
    return total


@contextlib.contextmanager
def _trace_folder() -> Iterator[Path | None]:
    """A trace buffer of our own, or None where the kernel or the user may not trace."""
    with tempfile.TemporaryDirectory(prefix="storefs-trace-") as folder:
        try:
            run("mount", "-t", "tracefs", "tracefs", folder)
        except Failed:
            yield None
            return
        instance = Path(folder) / "instances" / f"storefs-{secrets.token_hex(4)}"
        try:
            instance.mkdir()
            yield instance
        finally:
            with contextlib.suppress(OSError):
                instance.rmdir()
            run("umount", folder)


def describe(scratch: Path) -> str:
    """Return one line about the machine."""
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    filesystem = run("findmnt", "--noheadings", "--output", "FSTYPE", "--target", scratch).strip()
    return (
        f"{os.cpu_count()} cores, {kib / 2**20:.0f} GiB of memory, Linux {platform.release().split('-')[0]},"
        f" Python {platform.python_version()}, {filesystem} below all caches and the S3 server"
    )
