"""What a vault raises: the names are those of KohakuVault, whose interface ``KVault`` has."""

from storefs.errors import StorefsError


class KohakuVaultError(StorefsError):
    """The base of all of them."""


class NotFound(KohakuVaultError, KeyError):
    """There is no value of that key; ``key`` is the one that was asked for.

    A KeyError as well: so ``vault[key]`` raises what a dict raises, and what its documentation says, at once.
    """

    def __init__(self, key: str | bytes) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"there is no value of the key {self.key!r}"


class DatabaseBusy(KohakuVaultError):
    """Another connection was writing for longer than all tries together waited."""

    retryable = True


class InvalidArgument(KohakuVaultError, TypeError, ValueError):
    """An argument that cannot be: the wrong type, or a value out of its range."""


class IoError(KohakuVaultError):
    """The disk, or the file that was read from or written to, failed. The value that was there before is still."""


class CacheFull(KohakuVaultError):
    """The cache is locked and has no room: nothing was taken in.

    Leave ``lock_cache``, or give the cache more ``cap_bytes``.
    """


class Damaged(KohakuVaultError):
    """The file is no readable SQLite database, or a value in it lacks a part."""
