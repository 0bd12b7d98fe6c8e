"""Times to live: the xattr that says how long a file or directory is kept after its last change."""

from storefs import settings

XATTR = b"user.storefs.ttl"
"""The xattr's name; its value is a duration, such as 90s, 15m, 12h, 7d, or a plain number of seconds."""

_NS_END = 1 << 63


def parse(value: bytes) -> int:
    """Return the ns that a value of the xattr stands for. Raises ValueError for anything but a positive duration."""
    ns = settings.duration(value.decode("ascii")) * 1e9
    if not 1 <= ns < _NS_END:
        raise ValueError("a duration above zero that fits into 64 bits of ns")
    return int(ns)


def is_due(mtime_ns: int, value: bytes, now_ns: int) -> bool:
    """Whether what was last changed at ``mtime_ns`` has outlived the xattr's ``value``. Raises ValueError."""
    return mtime_ns + parse(value) <= now_ns
