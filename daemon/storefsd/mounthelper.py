"""``mount.storefs SOURCE DIR -o OPTIONS``: what mount(8) calls for a line of fstab."""

import sys

from storefs.cli.main import main as storefs
from storefs.settings import join_options, parse_options

_NOT_OURS = frozenset(
    {
        "rw", "auto", "noauto", "user", "nouser", "users", "owner", "group", "_netdev", "nofail", "defaults", "exec",
        "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async", "atime", "noatime", "relatime", "norelatime",
        "strictatime", "diratime", "nodiratime", "lazytime", "nolazytime", "remount", "comment", "default_permissions",
    }
)  # fmt: skip
"""Options that are for mount(8), systemd or the kernel, or that hold for every storefs mount anyway."""


def main() -> None:
    """Mount as mount(8) asks; return when the mount is up."""
    arguments = sys.argv[1:]
    places: list[str] = []
    options: dict[str, str] = {}
    while arguments:
        word = arguments.pop(0)
        if word == "-o" and arguments:
            options |= parse_options(arguments.pop(0))
        elif word == "-t" and arguments:
            arguments.pop(0)
        elif not word.startswith("-"):
            places.append(word)
    if len(places) != 2:  # noqa: PLR2004
        print("usage: mount.storefs SOURCE MOUNTPOINT [-o OPTIONS]", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    ours = {
        name: value for name, value in options.items() if name not in _NOT_OURS and not name.startswith(("x-", "x_"))
    }
    source = places[0].removeprefix("storefs#")
    sys.argv = ["storefs", "mount", source, places[1], *(["-o", join_options(ours)] if ours else [])]
    storefs()
