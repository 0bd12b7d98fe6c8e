"""Everything that can go wrong, each with its errno, HTTP status, exit code and whether trying again helps.

Errors meet the kernel in ``storefsd.fuse.guard`` and the command line in ``storefs.cli.main``; nowhere else are they
translated. The kinds are few: they differ where the caller has to do something different next.
"""

import errno
import os
from typing import ClassVar


class StorefsError(Exception):
    """The base of every error that storefs raises on purpose.

    Attributes:
        errno: what a system call answers when this error reaches the kernel.
        http_status: what an HTTP request answers.
        exit_code: what a command exits with (the table is in docs/SEMANTICS.md).
        retryable: whether the same call may succeed a moment later.
    """

    errno: int = errno.EIO
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False


# --- the object store -------------------------------------------------------------------------------------------------


class StoreError(StorefsError):
    """The object store answered with an error that will not go away by itself."""

    http_status = 502
    exit_code = 3


class ObjectMissing(StoreError):
    """There is no object of that key."""

    errno = errno.ENOENT
    http_status = 404


class PreconditionFailed(StoreError):
    """A conditional put met another object (or version) than it named: nothing was written."""

    errno = errno.EEXIST
    http_status = 412


class StoreUnavailable(StoreError):
    """The store did not answer, or answered that it is busy."""

    http_status = 503
    retryable = True


class StoreRefused(StoreError):
    """The store refused the credentials, or what they may do."""

    errno = errno.EACCES
    http_status = 403
    exit_code = 4


class StoreFull(StoreError):
    """The store has no room left."""

    errno = errno.ENOSPC
    http_status = 507


class UnsafeStore(StoreError):
    """The store let several writers win the same conditional put: commits there would be lost."""


class NotAStore(StoreError):
    """The source is not a storefs store, or cannot become one."""


class UnknownFormat(StoreError):
    """The store was written by another version of storefs, one that this version does not understand."""

    errno = errno.EROFS


# --- bytes and commits ------------------------------------------------------------------------------------------------


class Corrupt(StorefsError):
    """Bytes are not what their digest, checksum or format says. They were not used."""


class Diverged(StorefsError):
    """A committed change does not fit this replica of the tree: the replica is wrong and must be built again."""

    errno = errno.EROFS


class NotCommitted(StorefsError):
    """Something acknowledged here is not in the store yet, and the time to put it there ran out."""

    http_status = 503
    exit_code = 5
    retryable = True


class ReadOnly(StorefsError):
    """The mount takes no changes."""

    errno = errno.EROFS
    http_status = 403


class NoSpace(StorefsError):
    """The local disk is full."""

    errno = errno.ENOSPC
    http_status = 507


# --- the tree ---------------------------------------------------------------------------------------------------------


class PosixError(StorefsError):
    """A system call's ordinary refusal (ENOENT, ENOTEMPTY, ...), with its errno in the instance."""

    http_status = 400

    def __init__(self, number: int, detail: str = "") -> None:
        """Make the refusal ``number`` (an errno); ``detail`` says which name or argument it is about."""
        self.errno = number
        text = os.strerror(number)
        super().__init__(f"{text}: {detail}" if detail else text)


# --- processes and commands -------------------------------------------------------------------------------------------


class UsageError(StorefsError):
    """An option, a setting or an argument is wrong."""

    errno = errno.EINVAL
    http_status = 400
    exit_code = 2


class MountpointError(StorefsError):
    """The mountpoint is in use, missing, or cannot be mounted on."""

    exit_code = 6


class CacheLocked(StorefsError):
    """Another mount holds the cache directory."""

    exit_code = 6
    retryable = True


class MissingPart(StorefsError):
    """A part of the system that storefs needs is missing (/dev/fuse, fusermount3, a library)."""

    exit_code = 7


def cause_of(error: BaseException) -> BaseException:
    """Return the error inside a nursery's groups: the first, where all are known kinds."""
    while isinstance(error, BaseExceptionGroup):
        known = [one for one in error.exceptions if isinstance(one, StorefsError | BaseExceptionGroup)]
        if len(known) < len(error.exceptions):
            return error if len(error.exceptions) > 1 else error.exceptions[0]
        error = known[0]
    return error
