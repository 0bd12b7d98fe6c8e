"""The zones file: which bucket or directory holds which routes, as YAML or JSON."""

import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from storefs.archive.routing import N_BITS, check_n_bits
from storefs.errors import UsageError

_FILE_KEYS = frozenset({"n_bits", "zones"})
_ZONE_KEYS = frozenset({"name", "range", "s3", "path"})
_RANGE_KEYS = frozenset({"start", "end"})
_BUCKET_KEYS = frozenset({"bucket", "region_name", "endpoint_url", "prefix"})


@dataclass(frozen=True, slots=True)
class Bucket:
    """A place in S3."""

    bucket: str
    prefix: str = ""
    region_name: str | None = None
    endpoint_url: str | None = None


@dataclass(frozen=True, slots=True)
class Zone:
    """The routes that lie in one place: a bucket or a directory."""

    name: str
    routes: range
    place: Bucket | Path


@dataclass(frozen=True, slots=True)
class Zones:
    """All zones of an archive, by the first of their routes. Each route has one zone."""

    n_bits: int
    zones: tuple[Zone, ...]


def load(path: Path) -> Zones:
    """Read a zones file: JSON if it is called ``.json``, else YAML. A relative ``path`` is meant from where it lies.

    Raises UsageError, naming the file and the zones, for whatever is not as it should be: unknown or missing keys,
    names that come twice, routes that do not exist, that have two zones or none.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read the zones file {path}: {error}") from error
    try:
        return _zones(document, path.absolute().parent)
    except UsageError as error:
        raise UsageError(f"zones file {path}: {error}") from None


def _zones(document: Any, folder: Path) -> Zones:
    fields = _fields(document, _FILE_KEYS, "the file", required=("zones",))
    n_bits = check_n_bits(_whole(fields.get("n_bits", N_BITS), "n_bits"))
    listed = fields["zones"]
    if not isinstance(listed, list) or not listed:
        raise UsageError("zones: a list of one zone at least is needed")
    zones = [_zone(one, number, n_bits, folder) for number, one in enumerate(listed, start=1)]
    names: set[str] = set()
    for zone in zones:
        if zone.name in names:
            raise UsageError(f"two zones are called {zone.name!r}")
        names.add(zone.name)
    return Zones(n_bits, _covering(zones, n_bits))


def _covering(zones: list[Zone], n_bits: int) -> tuple[Zone, ...]:
    """Return the zones in order. Raises UsageError unless each route has one."""
    ordered = sorted(zones, key=lambda zone: (zone.routes.start, zone.routes.stop))
    at, before = 0, None
    for zone in ordered:
        if zone.routes.start < at:
            assert before is not None
            raise UsageError(
                f"zones {before.name!r} ({_shown(before.routes)}) and {zone.name!r} ({_shown(zone.routes)}) overlap"
            )
        if zone.routes.start > at:
            raise UsageError(f"no zone has the routes {_shown(range(at, zone.routes.start))}, before {zone.name!r}")
        at, before = zone.routes.stop, zone
    if at < 1 << n_bits:
        raise UsageError(f"no zone has the routes {_shown(range(at, 1 << n_bits))}, after {ordered[-1].name!r}")
    return tuple(ordered)


def _zone(document: Any, number: int, n_bits: int, folder: Path) -> Zone:
    fields = _fields(document, _ZONE_KEYS, f"zone {number}", required=("name", "range"))
    name = _text(fields["name"], f"zone {number}: name")
    label = f"zone {name!r}"
    bounds = _fields(fields["range"], _RANGE_KEYS, f"{label}: range", required=("start", "end"))
    start, end = (_whole(bounds[key], f"{label}: {key}") for key in ("start", "end"))
    last = (1 << n_bits) - 1
    if not 0 <= start <= end <= last:
        raise UsageError(f"{label}: its range {start} to {end} must lie in 0 to {last}, for n_bits is {n_bits}")
    if ("s3" in fields) == ("path" in fields):
        raise UsageError(f"{label}: it needs either 's3' or 'path'")
    if "path" in fields:
        place: Bucket | Path = folder / Path(_text(fields["path"], f"{label}: path")).expanduser()
    else:
        place = _bucket(fields["s3"], f"{label}: s3")
    return Zone(name, range(start, end + 1), place)


def _bucket(document: Any, label: str) -> Bucket:
    fields = _fields(document, _BUCKET_KEYS, label, required=("bucket",))
    texts = {key: _text(value, f"{label}: {key}") for key, value in fields.items() if value is not None}
    if "bucket" not in texts:
        raise UsageError(f"{label}: bucket must be a text")
    return Bucket(**texts | {"prefix": texts.get("prefix", "").strip("/")})


def _fields(document: Any, known: frozenset[str], label: str, required: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise UsageError(f"{label} must be a mapping, not {reprlib.repr(document)}")
    for key in document:
        if key not in known:
            raise UsageError(f"{label}: there is no key {reprlib.repr(key)}; there are: {', '.join(sorted(known))}")
    for key in required:
        if key not in document:
            raise UsageError(f"{label}: {key!r} is missing")
    return document


def _whole(value: Any, label: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{label} must be a whole number, not {reprlib.repr(value)}")
    return value


def _text(value: Any, label: str) -> str:
    if not isinstance(value, str) or (not value and not label.endswith("prefix")):
        raise UsageError(f"{label} must be a text, not {reprlib.repr(value)}")
    return value


def _shown(routes: range) -> str:
    return f"{routes.start} to {routes.stop - 1}"
