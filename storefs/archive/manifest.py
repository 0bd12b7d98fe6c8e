"""The manifest: what is to be packed, a JSON list of objects that may be longer than memory.

Each object has ``uid`` (text, or a whole number), ``created_at`` (ISO 8601), ``source_path`` (a path, or
s3://bucket/key), and perhaps ``size_bytes``. Other members mean nothing here.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from storefs.archive.routing import check_uid, parse_time
from storefs.errors import UsageError
from storefs.shard.format import pack_name

PIECE_CHARS = 1 << 20
_ENTRY_CHARS_MAX = 1 << 20
"""The longest entry. It bounds what is held of a manifest that is not JSON."""

_BLANK = " \t\n\r"
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Item:
    """A file that is to be packed: entry ``number`` (from 1) of its manifest. ``size`` is in bytes, None if unknown."""

    number: int
    uid: str
    created_at: datetime
    size: int | None
    source: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An entry that is not packed, and why. ``uid`` is empty where not even that can be read."""

    number: int
    uid: str
    reason: str

    def __str__(self) -> str:
        name = f" ({self.uid})" if self.uid else ""
        return f"entry {self.number}{name}: {self.reason}"


def read_manifest(stream: TextIO) -> Iterator[Item | Failure]:
    """Yield the entries of a manifest, in order; one that is wrong is a Failure.

    Raises UsageError, naming the line, when it is not a JSON list of objects.
    """
    for number, entry in enumerate(_Objects(stream), start=1):
        try:
            yield _item(number, entry)
        except UsageError as error:
            uid = entry.get("uid")
            yield Failure(number, str(uid) if isinstance(uid, str | int) else "", str(error))


class _Objects:
    """The objects of a JSON list, read piece by piece."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text = ""
        self._at = 0
        self._line = 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._next_char() != "[":
            raise self._fault("a manifest is a JSON list: it begins with '['")
        self._at += 1
        if self._next_char() == "]":
            self._at += 1
        else:
            while True:
                yield self._object()
                mark = self._next_char()
                self._at += 1
                if mark == "]":
                    break
                if mark != ",":
                    raise self._fault("',' or ']' is missing" if mark else "the list has no end")
        if self._next_char():
            raise self._fault("there is more behind the list")

    def _object(self) -> dict[str, Any]:
        if self._next_char() != "{":
            raise self._fault("an entry is a JSON object: it begins with '{'")
        while True:
            try:
                entry, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > _ENTRY_CHARS_MAX or not self._read_on():
                    raise self._fault(f"an entry is not JSON: {error}") from None
            else:
                self._at = end
                return entry  # type: ignore[no-any-return] # it began with a brace

    def _next_char(self) -> str:
        """Return the next character that is not blank, without taking it; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def _read_on(self) -> bool:
        """Read the next piece, and let go of what was taken; return whether there was one."""
        try:
            piece = self._stream.read(PIECE_CHARS)
        except UnicodeDecodeError as error:
            raise self._fault(f"it is not UTF-8: {error}") from None
        self._line += self._text.count("\n", 0, self._at)
        self._text = self._text[self._at :] + piece
        self._at = 0
        return bool(piece)

    def _fault(self, problem: str) -> UsageError:
        line = self._line + self._text.count("\n", 0, self._at)
        return UsageError(f"the manifest cannot be read, line {line}: {problem}")


def _item(number: int, entry: dict[str, Any]) -> Item:
    uid = entry.get("uid")
    if isinstance(uid, int) and not isinstance(uid, bool):
        uid = str(uid)
    if not isinstance(uid, str):
        raise UsageError(f"uid must be text or a whole number, not {uid!r}" if "uid" in entry else "it has no uid")
    pack_name(check_uid(uid))
    size = entry.get("size_bytes")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise UsageError(f"size_bytes must be a number of bytes, not {size!r}")
    return Item(number, uid, parse_time(_text(entry, "created_at")), size, _source(_text(entry, "source_path")))


def _text(entry: dict[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name} must be text, not {value!r}" if name in entry else f"it has no {name}")
    return value


def _source(text: str) -> str:
    scheme, mark, _ = text.partition("://")
    if mark and scheme != "s3":
        raise UsageError(f"source_path is a path or s3://bucket/key, not {scheme}://")
    if "\0" in text:
        raise UsageError("source_path has a NUL in it")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise UsageError(f"source_path must be Unicode, not {text!r}") from None
    return text
