"""Which files hold models or arrays: by how they start, and by their size against what the start says."""

import struct

HEAD_BYTES = 16
"""How much of a file's start is looked at."""

_SAFETENSORS_HEADER_MAX = 100_000_000
"""The bound that the safetensors format sets on its JSON header."""

_SAFETENSORS_HEADER_MIN = 2

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
    if len(head) <= 8:  # noqa: PLR2004 - the length and the first byte behind it
        return False
    (length,) = struct.unpack_from("<Q", head)
    return head[8:9] == b"{" and _SAFETENSORS_HEADER_MIN <= length <= min(_SAFETENSORS_HEADER_MAX, size - 8)
