"""Which files hold models or arrays: by how they start, and by their size against what the start says."""

import re
import struct

HEAD_BYTES = 16
"""How much of a file's start is looked at."""

_SAFETENSORS_HEADER_MAX = 100_000_000
"""The bound that the safetensors format sets on its JSON header."""

_SAFETENSORS_HEADER_MIN = 2

_OFFSETS = re.compile(rb'"data_offsets"\s{0,8}:\s{0,8}\[\s{0,8}\d{1,19}\s{0,8},\s{0,8}(\d{1,19})\s{0,8}\]')

_MAGICS = (
    b"GGUF",
    b"\x93NUMPY",
    b"PAR1",
    b"PK\x03\x04",  # a zip: torch.save's .pt and .bin, .npz
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19",  # torch.save before it wrote zips: a pickled magic number
    b"\x89HDF\r\n\x1a\n",
)


def is_model(head: bytes, size: int) -> bool:
    """Whether a file of ``size`` bytes that starts with ``head`` is made of arrays that are read whole, in any order.

    Formats: safetensors (length of a JSON header, then ``{``), GGUF, NumPy, Parquet, zip as torch.save and numpy.savez
    write it, torch.save's older format, HDF5.
    """
    if any(head.startswith(magic) for magic in _MAGICS):
        return True
    return header_bytes(head, size) > 0


def header_bytes(head: bytes, size: int) -> int:
    """Return where the tensors begin in a safetensors file of ``size`` bytes that starts with ``head``; 0 in others."""
    if len(head) <= 8:  # noqa: PLR2004 - the length and the first byte behind it
        return 0
    (length,) = struct.unpack_from("<Q", head)
    fits = _SAFETENSORS_HEADER_MIN <= length <= min(_SAFETENSORS_HEADER_MAX, size - 8)
    return 8 + length if fits and head[8:9] == b"{" else 0


def tensor_ends(header: bytes) -> list[int]:
    """Return where in the file each tensor ends that a safetensors header (with its length in front) names, ascending.

    It is searched, not parsed: for guesses that is enough, and a hostile one costs no more than its length.
    """
    return sorted({len(header) + int(end) for end in _OFFSETS.findall(header)})
