"""The manifest: read piece by piece, whatever lies where; each entry good, or bad by itself."""

import io
import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storefs.archive import manifest
from storefs.archive.manifest import Failure, Item, read_manifest
from storefs.errors import UsageError

GOOD = {"uid": "a", "created_at": "2024-01-01T00:00:00Z", "size_bytes": 3, "source_path": "/a"}
DAY = datetime(2024, 1, 1, tzinfo=UTC)


def read(text: str) -> list[Item | Failure]:
    return list(read_manifest(io.StringIO(text)))


def test_entries_are_read_in_order() -> None:
    text = json.dumps([GOOD, {**GOOD, "uid": 17, "size_bytes": None, "source_path": "s3://b/k", "more": [1, {}]}])
    assert read(text) == [Item(1, "a", DAY, 3, "/a"), Item(2, "17", DAY, None, "s3://b/k")]
    assert read("[]") == read(" [ \n ] \n") == []


@pytest.mark.parametrize("piece", [1, 2, 7, 64])
def test_pieces_end_anywhere(piece: int, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(manifest, "PIECE_CHARS", piece)
    dice = random.Random(seed)
    entries = [
        {**GOOD, "uid": "".join(dice.choices('aż"\\{}[],:\n', k=dice.randrange(1, 20))), "size_bytes": number}
        for number in range(30)
    ]
    text = json.dumps(entries, ensure_ascii=False, indent=dice.choice([None, 1]))
    assert [(item.uid, item.size) for item in read(text) if isinstance(item, Item)] == [
        (entry["uid"], entry["size_bytes"]) for entry in entries
    ]


def test_a_long_manifest_takes_no_memory_for_all_of_it() -> None:
    class Endless(io.TextIOBase):
        """A list that goes on until somebody has had enough."""

        longest = 0

        def read(self, size: int | None = -1) -> str:
            assert size is not None
            self.longest = max(self.longest, size)
            return (json.dumps(GOOD) + ",") * 100

    class Begun(Endless):
        begun = False

        def read(self, size: int | None = -1) -> str:
            text = super().read(size)
            text, self.begun = (text if self.begun else "[" + text), True
            return text

    found = read_manifest(Begun())  # type: ignore[arg-type]
    assert all(isinstance(next(found), Item) for _ in range(100_000))


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"uid": ""}, "must not be empty"),
        ({"uid": True}, "text or a whole number"),
        ({"uid": None}, "text or a whole number"),
        ({"uid": 1.5}, "text or a whole number"),
        ({"uid": "\ud800"}, "Unicode"),
        ({"uid": "x" * 70_000}, "name"),
        ({"created_at": "yesterday"}, "not a time"),
        ({"created_at": 3}, "created_at must be text"),
        ({"size_bytes": -1}, "size_bytes"),
        ({"size_bytes": "3"}, "size_bytes"),
        ({"size_bytes": True}, "size_bytes"),
        ({"source_path": ""}, "source_path must be text"),
        ({"source_path": "ftp://x/y"}, "not ftp://"),
        ({"source_path": "/a\0b"}, "NUL"),
        ({"source_path": "/\ud800"}, "Unicode"),
    ],
)
def test_a_bad_entry_is_bad_by_itself(changed: dict[str, object], complaint: str) -> None:
    first, bad, last = read(json.dumps([GOOD, {**GOOD, **changed}, GOOD]))
    assert isinstance(first, Item)
    assert isinstance(last, Item)
    assert isinstance(bad, Failure)
    assert bad.number == 2
    assert complaint in str(bad)


@pytest.mark.parametrize("missing", ["uid", "created_at", "source_path"])
def test_what_is_missing_is_named(missing: str) -> None:
    (bad,) = read(json.dumps([{name: value for name, value in GOOD.items() if name != missing}]))
    assert f"it has no {missing}" in str(bad)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: .*begins with '\\['"),
        ("{}", "begins with '\\['"),
        ("[1]", "begins with '{'"),
        ("[\n\n{} {}]", "line 3: ',' or ']'"),
        ("[{}", "the list has no end"),
        ("[{},", "begins with '{'"),
        ("[{},]", "begins with '{'"),
        ('[{}, {"uid": }]', "not JSON"),
        ('[{"uid": "a', "not JSON"),
        ("[] []", "more behind"),
        ("[" + '{"a":' * 100_000, "not JSON"),
    ],
)
def test_what_is_no_manifest_is_an_error_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        read(text)


def test_an_entry_without_end_is_not_read_for_ever() -> None:
    class Endless(io.TextIOBase):
        asked = 0

        def read(self, size: int | None = -1) -> str:
            self.asked += 1
            return '[{"a": "' if self.asked == 1 else "x" * (1 << 18)

    stream = Endless()
    with pytest.raises(UsageError, match="not JSON"):
        list(read_manifest(stream))  # type: ignore[arg-type]
    assert stream.asked < 10


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(b'[{"uid": "\xff"}]')
    with path.open(encoding="utf-8") as stream, pytest.raises(UsageError, match="UTF-8"):
        list(read_manifest(stream))
