"""Vaults: bytes by key in SQLite files. ``KVault`` is a dict of them, by itself; storefs keeps its cache in one."""

from storefs.vault.errors import (
    CacheFull,
    Damaged,
    DatabaseBusy,
    InvalidArgument,
    IoError,
    KohakuVaultError,
    NotFound,
)
from storefs.vault.kvault import KVault

__all__ = [
    "CacheFull",
    "Damaged",
    "DatabaseBusy",
    "InvalidArgument",
    "IoError",
    "KVault",
    "KohakuVaultError",
    "NotFound",
]
