"""Listing: all objects below a prefix, page by page."""

from collections.abc import AsyncGenerator

from storefs.model import ObjectInfo
from storefs.ports import ObjectStore


async def listed(store: ObjectStore, prefix: str, after: str = "") -> AsyncGenerator[ObjectInfo, None]:
    """Yield all objects whose keys start with ``prefix`` and sort after ``after``, in order. Raises the store's
    errors.
    """
    while page := await store.list_after(prefix, after):
        for info in page:
            yield info
        after = page[-1].key
