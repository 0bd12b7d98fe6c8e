"""Starting the daemon: a process of its own, waited for until its mount is up."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from storefs.errors import StorefsError
from storefs.settings import join_options


class StartFailed(StorefsError):
    """The daemon ended before its mount was up; carries its exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def command(source: str, mountpoint: str, options: Mapping[str, str], config: Path | None) -> list[str]:
    """Return the daemon's command line. An absolute interpreter: mount(8) calls with an empty PATH."""
    line = [sys.executable, "-m", "storefsd", source, mountpoint]
    if options:
        line += ["-o", join_options(options)]
    if config is not None:
        line += ["--config", str(config.absolute())]
    return line


def start(line: list[str], log_file: Path, say: Callable[[str], None]) -> int:
    """Start the daemon in the background; return its process id once the mount is up.

    What it says on the way goes to ``say``, its log to ``log_file``. Raises StartFailed with its own message.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    read_end, write_end = os.pipe()
    try:
        with log_file.open("ab") as log:
            daemon = subprocess.Popen(
                [*line, "--ready-fd", str(write_end)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[write_end],
                start_new_session=True,
            )
    finally:
        os.close(write_end)
    with os.fdopen(read_end, encoding="utf-8", errors="replace") as words:
        for word in words:
            kind, _, text = word.rstrip("\n").partition(" ")
            if kind == "READY":
                return daemon.pid
            if kind == "NOTE":
                say(text)
            elif kind == "ERROR":
                code, _, reason = text.partition(" ")
                daemon.wait()
                raise StartFailed(reason, int(code))
    ended = daemon.wait()
    raise StartFailed(
        f"the daemon ended with status {ended} before the mount was up; its log is {log_file}", ended or 1
    )
