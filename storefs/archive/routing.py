"""Routing: which shards may hold a file follows from its uid and the time it was made, as in Data Easy Store.

Shards lie flat below the archive's prefix, named ``YYYYMMDD_HH_NNNN.des``: the day (UTC), the route in hex (upper case,
of fixed width), and a number that grows with each shard of the same day and route. Big files lie beside them, as
``_bigFiles/<sha256>``.
"""

import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime

from storefs.errors import UsageError

N_BITS_MIN, N_BITS_MAX = 4, 16
N_BITS = 8
"""The default number of bits: 256 routes a day."""

BIG_FILES = "_bigFiles/"

_SHARD_KEY = re.compile(r"([0-9]{8})_([0-9A-F]{1,4})_([0-9]{4,})\.des")
_DIGITS = re.compile(r"[0-9]+")
_NUMBER_WIDTH = 4


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """The place of a file among all: its day (YYYYMMDD, UTC) and the number of its route, as hex of fixed width."""

    day: str
    hex: str

    @property
    def prefix(self) -> str:
        """What the keys of its shards start with."""
        return f"{self.day}_{self.hex}_"

    @property
    def index(self) -> int:
        """The number of the route, 0 to 2^n_bits - 1."""
        return int(self.hex, 16)


@dataclass(frozen=True, slots=True, order=True)
class ShardName:
    """What the key of a shard says. Of two shards of a route that hold the same uid, the higher number counts."""

    route: Route
    number: int

    @property
    def key(self) -> str:
        """The key below the archive's prefix."""
        return f"{self.route.prefix}{self.number:0{_NUMBER_WIDTH}d}.des"


def check_n_bits(n_bits: int) -> int:
    """Return ``n_bits``. Raises UsageError unless it is 4 to 16."""
    if not N_BITS_MIN <= n_bits <= N_BITS_MAX:
        raise UsageError(f"n_bits is {N_BITS_MIN} to {N_BITS_MAX}, not {n_bits}")
    return n_bits


def hex_width(n_bits: int) -> int:
    """Return how many hex digits name a route."""
    return -(-n_bits // 4)


def route_index(uid: str, n_bits: int) -> int:
    """Return the number of a uid's route: of decimal digits by their value, of anything else by CRC-32."""
    if _DIGITS.fullmatch(uid):
        return _modulo(uid, n_bits)
    return zlib.crc32(uid.encode()) & ((1 << n_bits) - 1)


def _modulo(digits: str, n_bits: int) -> int:
    # 10^n is a multiple of 2^n: the last n_bits digits decide, however long a hostile uid is.
    return int(digits[-n_bits:]) % (1 << n_bits)


def route(uid: str, created_at: datetime, n_bits: int) -> Route:
    """Return where a file belongs. A time without a zone is meant as UTC. Raises UsageError for an impossible uid."""
    check_uid(uid)
    moment = _utc(created_at)
    day = f"{moment.year:04d}{moment.month:02d}{moment.day:02d}"
    return Route(day, f"{route_index(uid, n_bits):0{hex_width(n_bits)}X}")


def check_uid(uid: str) -> str:
    """Return a uid. Raises UsageError when it is empty, or is not Unicode."""
    if not uid:
        raise UsageError("a uid must not be empty")
    try:
        uid.encode()
    except UnicodeEncodeError:
        raise UsageError(f"a uid must be Unicode, not {uid!r}") from None
    return uid


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time such as ``2024-01-01T00:00:00Z``; without a zone it is UTC. Raises UsageError."""
    try:
        return _utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is not a time such as 2024-01-01T00:00:00Z") from None


def shard_name(key: str) -> ShardName | None:
    """Return what the key of a shard says, or None for the key of anything else."""
    match = _SHARD_KEY.fullmatch(key)
    if match is None:
        return None
    name = ShardName(Route(match[1], match[2]), int(match[3]))
    return name if name.key == key else None


def big_file_key(sha256: str) -> str:
    """Return the key of a big file."""
    return f"{BIG_FILES}{sha256}"


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
