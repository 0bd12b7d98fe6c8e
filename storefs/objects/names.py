"""Which strings are keys: the same rule for every store, so that none accepts what another cannot hold."""

from storefs.errors import StoreError

KEY_BYTES_MAX = 1024
"""The longest key in bytes, S3's limit; a store's prefix counts towards it there."""


def check_key(key: str) -> str:
    """Return ``key``. Raises StoreError unless it is a relative ``/``-separated name that stays below its store."""
    reason = _fault(key)
    if reason:
        raise StoreError(f"{key!r} is no key: {reason}")
    return key


def check_prefix(prefix: str) -> str:
    """Return ``prefix``, the beginning of keys (possibly empty). Raises StoreError if it leads out of the store."""
    folder = prefix.rpartition("/")[0]
    if folder or prefix.startswith("/"):
        check_key(folder)
    if "\0" in prefix:
        raise StoreError(f"{prefix!r} is no prefix: it holds a NUL byte")
    return prefix


def _fault(key: str) -> str:
    """Return what is wrong with ``key``, or an empty string."""
    if not key:
        return "it is empty"
    if "\0" in key:
        return "it holds a NUL byte"
    if key.startswith("/"):
        return "it is absolute"
    if any(segment in {"", ".", ".."} for segment in key.split("/")):
        return "it has an empty, '.' or '..' segment"
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return f"it is longer than {KEY_BYTES_MAX} bytes" if length > KEY_BYTES_MAX else ""
