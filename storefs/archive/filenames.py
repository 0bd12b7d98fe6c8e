"""Names of archived files in a directory: uids are any text, names of files are not.

A uid is its own name where it can be. ``/``, NUL and ``%`` are written as ``%2F``, ``%00`` and ``%25``, the names ``.``
and ``..`` as ``%2E`` and ``%2E%2E``; what is longer than 255 bytes then is cut, and ends in ``~`` and 32 hex digits of
the uid's digest.
"""

from storefs.core.digest import digest
from storefs.model import NAME_BYTES_MAX

_ESCAPED = str.maketrans({"/": "%2F", "\0": "%00", "%": "%25"})
_DOTS = {".": b"%2E", "..": b"%2E%2E"}
_DIGEST_BYTES = 16


def file_name(uid: str) -> bytes:
    """Return the name of the file that shows a uid: another one for each uid."""
    name = _DOTS.get(uid) or uid.translate(_ESCAPED).encode()
    if len(name) <= NAME_BYTES_MAX:
        return name
    mark = f"~{digest(uid.encode())[:_DIGEST_BYTES].hex()}".encode()
    # Cut between characters.
    return name[: NAME_BYTES_MAX - len(mark)].decode(errors="ignore").encode() + mark
