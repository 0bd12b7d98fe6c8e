"""The environment variables of Data Easy Store, DES_*: which archive is meant when a command does not say."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from storefs.archive.routing import check_n_bits
from storefs.errors import UsageError

_OPTIONS = {"endpoint_url": "DES_S3_ENDPOINT_URL", "region": "DES_S3_REGION"}


@dataclass(frozen=True, slots=True)
class ArchiveEnvironment:
    """What the variables say.

    Attributes:
        backend: ``local``, ``s3``, ``multi_s3``, or None when none is named.
        n_bits: how many bits number the routes, or None.
        source: the directory or s3://bucket/prefix; None without a backend, and with zones.
        options: settings to reach it: ``endpoint_url``, ``region``.
        zones: the path of the zones file of ``multi_s3``.
    """

    backend: str | None = None
    n_bits: int | None = None
    source: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    zones: str | None = None


def archive_source(environ: Mapping[str, str]) -> ArchiveEnvironment:
    """Read the variables; an empty one counts as not set.

    Raises UsageError for a backend that there is not, for a variable that the backend needs, and for a number of bits
    that cannot be.
    """
    n_bits = _n_bits(environ)
    backend = environ.get("DES_BACKEND") or None
    match backend:
        case None:
            return ArchiveEnvironment(n_bits=n_bits)
        case "local":
            return ArchiveEnvironment(backend, n_bits, _needed(environ, "DES_BASE_DIR", backend))
        case "s3":
            prefix = environ.get("DES_S3_PREFIX", "").strip("/")
            source = f"s3://{_needed(environ, 'DES_S3_BUCKET', backend)}/{prefix}"
            options = {name: environ[variable] for name, variable in _OPTIONS.items() if environ.get(variable)}
            return ArchiveEnvironment(backend, n_bits, source, options)
        case "multi_s3":
            return ArchiveEnvironment(backend, n_bits, zones=_needed(environ, "DES_ZONES_CONFIG", backend))
        case _:
            raise UsageError(f"DES_BACKEND is local, s3 or multi_s3, not {backend!r}")


def _n_bits(environ: Mapping[str, str]) -> int | None:
    text = environ.get("DES_N_BITS") or None
    if text is None:
        return None
    if not text.isdecimal():
        raise UsageError(f"DES_N_BITS is a number, not {text!r}")
    return check_n_bits(int(text))


def _needed(environ: Mapping[str, str], variable: str, backend: str) -> str:
    value = environ.get(variable)
    if not value:
        raise UsageError(f"DES_BACKEND={backend} needs {variable}")
    return value
