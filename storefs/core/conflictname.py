"""Names of conflict copies: what lost its name to another mount's file, or its content."""

import itertools
from collections.abc import Iterator

from storefs.model import NAME_BYTES_MAX

_FOLLOWS = (0x80, 0xBF)
"""The bytes of UTF-8 that go on with a character."""


def conflict_names(name: bytes, node: int, seq: int) -> Iterator[bytes]:
    """Yield ``name.conflict-<node>-<seq>``, then the same with ``-2``, ``-3``, ... for when that is taken.

    ``node`` and ``seq`` tell who wrote, and with which commit, what the name leads to. A name that would become too
    long is shortened before its extension, between two characters where it is UTF-8.
    """
    for number in itertools.count(1):
        suffix = b".conflict-%d-%d" % (node, seq) + (b"-%d" % number if number > 1 else b"")
        yield _shortened(name, NAME_BYTES_MAX - len(suffix)) + suffix


def _shortened(name: bytes, length: int) -> bytes:
    if len(name) <= length:
        return name
    stem, dot, extension = name.rpartition(b".")
    if not stem or len(dot + extension) > length // 2:  # a dot somewhere, but no extension
        stem, dot, extension = name, b"", b""
    cut = length - len(dot + extension)
    while cut > 0 and _FOLLOWS[0] <= stem[cut] <= _FOLLOWS[1]:
        cut -= 1
    # A name that is no UTF-8 may have nothing else than such bytes.
    return (stem[:cut] if cut else stem[: length - len(dot + extension)]) + dot + extension
