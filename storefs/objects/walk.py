"""A directory's files as keys in key order, reading no more folders than a page needs."""

import os
from collections.abc import Iterator
from pathlib import Path

HIDDEN = ".tmp"
"""The folder below the root that holds unfinished writes and locks: never listed, never a key."""


def walk(root: Path, prefix: str, after: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield key and status of each regular file whose key starts with ``prefix`` and sorts after ``after``.

    Folders that cannot hold such a key are not opened. A root that does not exist has no files. OSError passes through.
    """
    # Every such key lies in the folder that the prefix names completely.
    folder, slash, _ = prefix.rpartition("/")
    return _files(root, folder + slash, prefix, after)


def _files(root: Path, folder: str, prefix: str, after: str) -> Iterator[tuple[str, os.stat_result]]:
    """Walk one folder (its key ends in ``/``, or is empty for the root)."""
    try:
        with os.scandir(root / folder) as entries:
            # A folder sorts as its keys do, with the slash: "a-b" < "a/b" < "a0".
            keys = sorted(_keys(entries, folder, prefix, after))
    except (FileNotFoundError, NotADirectoryError):
        return
    for key in keys:
        if key.endswith("/"):
            yield from _files(root, key, prefix, after)
            continue
        try:
            status = (root / key).stat()
        except FileNotFoundError:  # deleted since the folder was read
            continue
        yield key, status


def _keys(entries: "Iterator[os.DirEntry[str]]", folder: str, prefix: str, after: str) -> Iterator[str]:
    """Yield the keys of the files wanted, and of the folders (with a slash) that may hold some."""
    for entry in entries:
        key = folder + entry.name
        if not _is_text(key):
            continue
        if entry.is_dir(follow_symlinks=False):
            key += "/"
            leads_there = key.startswith(prefix) or prefix.startswith(key)
            has_later = key > after or after.startswith(key)
            if leads_there and has_later and key != HIDDEN + "/":
                yield key
        elif entry.is_file(follow_symlinks=False) and key.startswith(prefix) and key > after:
            yield key


def _is_text(name: str) -> bool:
    """Whether a file's name can be a key at all (undecodable bytes arrive as lone surrogates)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
