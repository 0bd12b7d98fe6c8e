"""Who makes a call."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The process behind a system call: its user and group."""

    uid: int
    gid: int
