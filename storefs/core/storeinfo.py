"""store.json: a store's identity, written once when it is made."""

import json
import stat
from dataclasses import asdict, dataclass, fields
from typing import Any

from storefs.core.chunking import ChunkSizes
from storefs.errors import Corrupt, UnknownFormat

FORMAT = 1
_CHUNK_BYTES_MAX = 16 << 20


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What every mount of a store has to agree on.

    Attributes:
        store: 16 bytes that name the store.
        created_ns: when it was made, ns since 1970; also the times of its root directory.
        root_mode, root_uid, root_gid: of its root directory when it was made.
        sizes: how its files are cut into chunks.
    """

    store: bytes
    created_ns: int
    root_mode: int
    root_uid: int
    root_gid: int
    sizes: ChunkSizes


def pack(info: StoreInfo) -> bytes:
    """Return the bytes of store.json."""
    document = {
        "format": FORMAT,
        "store": info.store.hex(),
        "created_ns": info.created_ns,
        "root": {"mode": info.root_mode, "uid": info.root_uid, "gid": info.root_gid},
        "chunking": {"algorithm": "fastcdc-normalized", **asdict(info.sizes)},
        "digest": "blake3-256",
        "shard": "DES2",
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def parse(data: bytes) -> StoreInfo:
    """Read store.json. Raises Corrupt, UnknownFormat."""
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise UnknownFormat(
                f"the store has format {document['format']}; this storefs reads {FORMAT}: update storefs"
            )
        root, chunking = document["root"], dict(document["chunking"])
        algorithm = chunking.pop("algorithm")
        if algorithm != "fastcdc-normalized" or document["digest"] != "blake3-256" or document["shard"] != "DES2":
            raise UnknownFormat(
                f"the store uses {algorithm}, {document['digest']} and {document['shard']}: update storefs"
            )
        info = StoreInfo(
            bytes.fromhex(document["store"]),
            int(document["created_ns"]),
            int(root["mode"]),
            int(root["uid"]),
            int(root["gid"]),
            _sizes(chunking),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"store.json is not readable: {error!r}") from error
    sizes = info.sizes
    bounds_hold = 0 < sizes.minimum <= sizes.average <= sizes.maximum <= _CHUNK_BYTES_MAX
    bounds_hold = bounds_hold and 0 <= sizes.small <= sizes.maximum
    if len(info.store) != 16 or not stat.S_ISDIR(info.root_mode) or not bounds_hold:  # noqa: PLR2004
        raise Corrupt("store.json holds impossible values")
    return info


def _sizes(chunking: dict[str, Any]) -> ChunkSizes:
    """Read the bounds of chunking: all of them, and no others, or two mounts would cut the same file differently."""
    names = [field.name for field in fields(ChunkSizes)]
    if set(chunking) != set(names):
        raise ValueError(f"chunking has {sorted(chunking)}, not {sorted(names)}")
    return ChunkSizes(*(int(chunking[name]) for name in names))
