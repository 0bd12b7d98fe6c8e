"""Compression: zstd and lz4 frames, one context per thread, and no output beyond what was announced."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import lz4.frame
import zstandard

from storefs.errors import Corrupt, NoSpace, StorefsError
from storefs.model import Buffer, Codec

PACKED_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".gif", ".gz", ".zip", ".bz2", ".xz", ".mp4", ".mp3", ".avi", ".zst", ".lz4",
)  # fmt: skip
"""Suffixes of names whose content is compressed already."""

LEVEL_FAST = 1
LEVEL_DENSE = 3

_KEPT_PERCENT_MAX = 97
"""A payload that shrinks by less than 3 % is stored raw: reading it then costs no decompression."""

_EXPANSION_MAX = 1 << 15
"""What one stored byte can become at most: zstd's densest block is 4 bytes for 128 KiB (RFC 8878, 3.1.1.2); lz4 stays
below 256."""

_WINDOW_BYTES_MAX = 1 << 23
"""The window that a decoder grants a frame that does not state its length. RFC 8878 (3.1.1.1.2) asks decoders for 8 MiB
at least, and no level below 20 writes more.
"""

_READ_BYTES = 1 << 10
"""How much of a file is decompressed at once: a hostile file makes 32 MiB of that, before its length is checked."""


class _Contexts(threading.local):
    """This thread's contexts. Shared between threads they crash the process or return wrong bytes."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
        self._compressors: dict[tuple[int, bool], zstandard.ZstdCompressor] = {}

    def compressor(self, level: int, *, checksum: bool) -> zstandard.ZstdCompressor:
        found = self._compressors.get((level, checksum))
        if found is None:
            found = zstandard.ZstdCompressor(level=level, write_checksum=checksum, write_content_size=True)
            self._compressors[level, checksum] = found
        return found


_contexts = _Contexts()


# --- payloads of a shard ----------------------------------------------------------------------------------------------


def is_packed(name: str) -> bool:
    """Whether content of that name is compressed already, going by the suffix."""
    return name.lower().endswith(PACKED_SUFFIXES)


def encode(data: Buffer, level: int = LEVEL_FAST, codec: Codec = Codec.ZSTD) -> tuple[Codec, Buffer]:
    """Return the payload for ``data`` and how it is stored: ``codec``, or NONE when that saves less than 3 %.

    A raw payload is ``data`` itself, not a copy. Nothing in the payload proves the content: the caller keeps a digest.
    """
    if codec is Codec.NONE or len(data) == 0:
        return Codec.NONE, data
    payload = _ENCODERS[codec](data, level)
    if len(payload) * 100 > len(data) * _KEPT_PERCENT_MAX:
        return Codec.NONE, data
    return codec, payload


def decode(payload: Buffer, codec: Codec, size: int) -> bytes:
    """Return the content of a payload, which must be ``size`` bytes. Raises Corrupt.

    Whatever the payload claims, no more than ``size`` bytes are allocated for the content, and nothing when so few
    stored bytes cannot become that many. (A decoder has a window besides: 8 MiB at most in each thread.)
    """
    if codec is Codec.NONE:
        if len(payload) != size:
            raise Corrupt(f"a raw payload has {len(payload)} bytes, {size} were announced")
        return bytes(payload)
    if not 0 <= size <= len(payload) * _EXPANSION_MAX:
        raise Corrupt(f"a {codec.name} payload of {len(payload)} bytes cannot be {size} bytes of content")
    data = _DECODERS[codec](payload, size)
    if len(data) != size:
        raise Corrupt(f"a {codec.name} payload holds {len(data)} bytes, {size} were announced")
    return data


def _encode_zstd(data: Buffer, level: int) -> bytes:
    return _contexts.compressor(level, checksum=False).compress(data)


def _encode_lz4(data: Buffer, level: int) -> bytes:
    frame: bytes = lz4.frame.compress(data, compression_level=level, content_checksum=True, store_size=True)
    return frame


def _decode_zstd(payload: Buffer, size: int) -> bytes:
    try:
        # The library allocates what the frame states, whatever limit it is given: so ask the frame first.
        stated = zstandard.frame_content_size(payload)
        if stated not in (-1, size):
            raise Corrupt(f"a ZSTD frame states {stated} bytes, {size} were announced")
        return _contexts.decompressor.decompress(payload, max_output_size=max(size, 1), allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Corrupt(f"a ZSTD frame is damaged: {error}") from error


def _decode_lz4(payload: Buffer, size: int) -> bytes:
    # A context for each frame: the library's one-call function would allocate what the frame states.
    decoder = lz4.frame.LZ4FrameDecompressor()
    try:
        # One byte more than wanted, so that the frame's end mark and checksum are read too.
        data: bytes = decoder.decompress(payload, max_length=size + 1)
    except (RuntimeError, EOFError, ValueError) as error:
        raise Corrupt(f"an LZ4 frame is damaged: {error}") from error
    if not decoder.eof or decoder.unused_data:
        raise Corrupt(f"an LZ4 frame does not end where its payload of {len(payload)} bytes ends")
    return data


_ENCODERS: dict[Codec, Callable[[Buffer, int], bytes]] = {Codec.ZSTD: _encode_zstd, Codec.LZ4: _encode_lz4}
_DECODERS: dict[Codec, Callable[[Buffer, int], bytes]] = {Codec.ZSTD: _decode_zstd, Codec.LZ4: _decode_lz4}


# --- bodies and files that prove themselves ---------------------------------------------------------------------------


def compress(data: Buffer, level: int = LEVEL_DENSE) -> bytes:
    """Return ``data`` as one zstd frame that states its length and ends with a checksum."""
    return _contexts.compressor(level, checksum=True).compress(data)


def decompress(data: Buffer, size_max: int) -> bytes:
    """Return the content of a frame of ``compress``: ``size_max`` bytes at most. Raises Corrupt."""
    return decode(data, Codec.ZSTD, _stated_size(data, size_max, "a body"))


def compress_file(src: Path, dst: Path, level: int = LEVEL_DENSE) -> int:
    """Write the content of ``src`` to ``dst`` as one zstd frame with its length and a checksum; return its bytes.

    ``dst`` is not synced, and is gone when this fails. Raises NoSpace.
    """
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
    try:
        with src.open("rb") as source, dst.open("wb") as sink:
            return compressor.copy_stream(source, sink, size=src.stat().st_size)[1]
    except BaseException as error:
        dst.unlink(missing_ok=True)
        _translate(error, f"cannot compress {src} to {dst}")
        raise


def decompress_file(src: Path, dst: Path, size_max: int) -> int:
    """Write the content of a file of ``compress_file``, ``size_max`` bytes at most, to ``dst``; return its length.

    ``dst`` is not synced, and is gone when this fails. Raises Corrupt, NoSpace.
    """
    try:
        with src.open("rb") as source, dst.open("wb") as sink:
            return _unpack(source, sink, size_max, str(src))
    except BaseException as error:
        dst.unlink(missing_ok=True)
        _translate(error, f"cannot decompress {src} to {dst}")
        raise


def _unpack(source: BinaryIO, sink: BinaryIO, size_max: int, name: str) -> int:
    piece = source.read(_READ_BYTES)
    stated = _stated_size(piece, size_max, name)
    frame = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX).decompressobj()
    written = 0
    while piece:
        if frame.eof:
            raise Corrupt(f"{name} goes on behind its ZSTD frame")
        data = frame.decompress(piece)
        written += len(data)
        if written > stated:
            raise Corrupt(f"{name} holds more than the {stated} bytes that it states")
        sink.write(data)
        piece = source.read(_READ_BYTES)
    if not frame.eof or frame.unused_data or written != stated:
        raise Corrupt(f"{name} does not end with its ZSTD frame, after {written} of {stated} bytes")
    return written


def _stated_size(data: Buffer, size_max: int, name: str) -> int:
    try:
        stated = zstandard.frame_content_size(data)
    except zstandard.ZstdError as error:
        raise Corrupt(f"{name} is not a ZSTD frame: {error}") from error
    if not 0 <= stated <= size_max:
        raise Corrupt(f"{name} states a length of {stated} bytes; {size_max} are allowed")
    return stated


def _translate(error: BaseException, what: str) -> None:
    if isinstance(error, zstandard.ZstdError):
        raise Corrupt(f"{what}: {error}") from error
    if isinstance(error, OSError):
        kind = NoSpace if error.errno == NoSpace.errno else StorefsError
        raise kind(f"{what}: {error.strerror}") from error
