"""Settings: one table; a flag wins over the environment, that over the TOML file, that over the default."""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storefs.errors import UsageError

Value = str | int | float | bool | None

_OPTION = re.compile(r"(?:\\[\\,]|[^,])+")
_SPECIAL = re.compile(r"([\\,])")
_ESCAPED = r"\\\1"
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def size(text: str) -> int:
    """Read a number of bytes: ``1048576``, ``512M``, ``20GiB`` (units are 1024-based)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("a size, such as 20G or 512M")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def duration(text: str) -> float:
    """Read a number of seconds: ``5``, ``500ms``, ``2m``."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("a duration, such as 5s or 500ms")
    return float(match[1]) * _SECONDS[match[2]]


def switch(text: str) -> bool:
    """Read yes or no; a bare option means yes."""
    lowered = text.strip().lower()
    if lowered in ("", "1", "true", "yes", "on"):
        return True
    if lowered in ("0", "false", "no", "off"):
        return False
    raise ValueError("yes or no")


def path(text: str) -> str:
    """Read the path of a file or directory; a relative one is meant from where the command was given."""
    return os.path.abspath(Path(text).expanduser())  # noqa: PTH100


def whole(text: str) -> int:
    """Read a whole number that is not negative."""
    if not text.strip().isdigit():
        raise ValueError("a number")
    return int(text)


def one_of(*words: str) -> Callable[[str], str]:
    """Return what reads one of some words."""

    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text.lower()

    return read


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: its name (in ``-o``, in TOML, and as STOREFS_<NAME>), how it is read, its default, what it does."""

    name: str
    read: Callable[[str], Value]
    default: Value
    help: str


TABLE = (
    Setting("ro", switch, False, "mount read-only: nothing is written, read-only credentials will do"),
    Setting("cache_dir", path, None, "directory of caches [/var/cache/storefs for root, else ~/.cache/storefs]"),
    Setting("cache_size", size, None, "disk that the cache may take [20G, at most half of the free space]"),
    Setting("dirty_limit", size, None, "how much may wait for the store before writes wait [half of cache_size]"),
    Setting("commit_interval", duration, 5.0, "the longest that a change waits for its commit"),
    Setting("commit", one_of("interval", "close"), "interval", "close: a close returns when its file is in the store"),
    Setting(
        "consistency",
        one_of("relaxed", "strict"),
        "relaxed",
        "strict: mkdir, O_EXCL, link and rename return when they are in the store: locks between machines",
    ),
    Setting("store_deadline", duration, 60.0, "how long a call waits for the store, all tries together"),
    Setting("poll_interval", duration, 1.0, "how often commits of other mounts are looked for"),
    Setting("memory", size, 128 << 20, "memory for decoded chunks"),
    Setting("n_bits", whole, 8, "archive: how many bits number its routes"),
    Setting("endpoint_url", str, None, "S3: address of a server other than AWS"),
    Setting("region", str, None, "S3: region"),
    Setting("profile", str, None, "S3: profile of the AWS configuration files"),
    Setting("path_style", switch, None, "S3: bucket in the path, not the host name [with endpoint_url: yes]"),
    Setting("ca_bundle", path, None, "S3: file of CA certificates to trust"),
    Setting("sse", str, None, "S3: server-side encryption, AES256 or aws:kms"),
    Setting("sse_kms_key", str, None, "S3: id of the KMS key"),
    Setting("storage_class", str, None, "S3: storage class of new objects"),
    Setting("request_payer", switch, False, "S3: accept that the requester pays"),
    Setting("connections", whole, 16, "S3: connections and threads, at most"),
    Setting("allow_other", switch, False, "other users may enter the mount (needs user_allow_other, unless root)"),
    Setting("uid", whole, None, "show all files as owned by this user id"),
    Setting("gid", whole, None, "show all files as owned by this group id"),
    Setting("bridge", switch, True, "let the kernel open files by itself (needs the C extension of the daemon)"),
    Setting("log_level", one_of("debug", "info", "warning", "error"), "info", "debug, info, warning or error"),
    Setting("log_file", path, None, "where a daemon in the background logs [<cache_dir>/logs/]"),
)

_BY_NAME = {setting.name: setting for setting in TABLE}


@dataclass(frozen=True)
class Settings:
    """The settings of one mount, as attributes' names in TABLE; see ``help`` there."""

    values: Mapping[str, Value]

    def text(self, name: str) -> str | None:
        """Return a text, or None."""
        value = self.values[name]
        return None if value is None else str(value)

    def number(self, name: str) -> float:
        """Return a number that has a default."""
        value = self.values[name]
        assert isinstance(value, int | float), name
        return value

    def whole(self, name: str) -> int | None:
        """Return a whole number, or None."""
        value = self.values[name]
        return None if value is None else int(value)

    def flag(self, name: str) -> bool:
        """Return yes or no."""
        return bool(self.values[name])


def resolve(options: Mapping[str, str], environment: Mapping[str, str], config: Path | None) -> Settings:
    """Return the settings: ``options`` over ``environment`` (STOREFS_*) over the TOML file over the defaults.

    ``config`` names the file; by default $STOREFS_CONFIG, ~/.config/storefs/config.toml, /etc/storefs.toml: the first
    that exists. Raises UsageError naming what is wrong and where.
    """
    values: dict[str, Value] = {setting.name: setting.default for setting in TABLE}
    path = _find_config(environment, config)
    if path is not None:
        for name, value in _read_toml(path).items():
            values[name] = _read(name, str(value), f"{path}: ")
    for setting in TABLE:
        text = environment.get(f"STOREFS_{setting.name.upper()}")
        if text is not None:
            values[setting.name] = _read(setting.name, text, f"STOREFS_{setting.name.upper()}: ")
    for name, text in options.items():
        values[name] = _read(name, text, "-o ")
    return Settings(values)


def parse_options(text: str) -> dict[str, str]:
    r"""Read ``name=value,flag,...`` as mount(8) passes it. A comma in a value is written as ``\,``,
    a backslash before a comma or another backslash as ``\\``.
    """
    found: dict[str, str] = {}
    for part in _OPTION.findall(text):
        name, _, value = part.partition("=")
        found[name.strip().replace("-", "_")] = re.sub(r"\\([\\,])", r"\1", value)
    return found


def join_options(options: Mapping[str, str]) -> str:
    """Write options as ``parse_options`` reads them."""
    return ",".join(f"{name}={_SPECIAL.sub(_ESCAPED, value)}" for name, value in options.items())


def _read(name: str, text: str, where: str) -> Value:
    setting = _BY_NAME.get(name)
    if setting is None:
        raise UsageError(f"{where}there is no option {name!r}; there are: {', '.join(sorted(_BY_NAME))}")
    try:
        return setting.read(text)
    except ValueError as error:
        raise UsageError(f"{where}{name} takes {error}, not {text!r}") from None


def _find_config(environment: Mapping[str, str], config: Path | None) -> Path | None:
    named = config or (Path(environment["STOREFS_CONFIG"]) if "STOREFS_CONFIG" in environment else None)
    if named is not None:
        if not named.is_file():
            raise UsageError(f"there is no configuration file {named}")
        return named
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(environment.get("HOME", "/root"), ".config")  # noqa: PTH118
    for path in (Path(home) / "storefs" / "config.toml", Path("/etc/storefs.toml")):
        if path.is_file():
            return path
    return None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error
