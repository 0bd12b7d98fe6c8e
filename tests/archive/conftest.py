"""A real store in a directory, counted, and a reader of it."""

from pathlib import Path

import pytest

from storefs.archive.reader import ArchiveReader
from storefs.objects.directory import DirectoryObjects
from storefs.ports import Offload
from tests.archive.archives import Counting


@pytest.fixture
def store(tmp_path: Path, offload: Offload) -> Counting:
    return Counting(DirectoryObjects(tmp_path / "archive", offload))


@pytest.fixture
def reader(store: Counting, offload: Offload) -> ArchiveReader:
    return ArchiveReader(store, offload)
