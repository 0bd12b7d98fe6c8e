"""The daemon's command: ``storefsd SOURCE MOUNTPOINT [-o OPTIONS]``, in the foreground."""

import argparse
import logging
import os
import sys
from pathlib import Path

import trio

import storefs
from storefs import wiring
from storefs.errors import StorefsError, cause_of
from storefs.settings import parse_options, resolve
from storefsd.serve import Mount, serve

log = logging.getLogger("storefsd")


def main() -> None:
    """Run a mount until it ends; exit with the code of the table in docs/SEMANTICS.md."""
    parser = argparse.ArgumentParser(
        prog="storefsd", description="Serves one storefs mount in the foreground; 'storefs mount' starts it for you."
    )
    parser.add_argument("source", help="s3://bucket/prefix, file:///path or a path")
    parser.add_argument("mountpoint", help="an existing directory")
    parser.add_argument("-o", dest="options", default="", help="options, as in 'storefs mount --help'")
    parser.add_argument("--config", type=Path, help="TOML file of settings")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=storefs.__version__)
    arguments = parser.parse_args()
    sys.exit(_run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    parent = _Parent(arguments.ready_fd)
    try:
        settings = resolve(parse_options(arguments.options), os.environ, arguments.config)
        settings = wiring.for_source(arguments.source, settings)
        logging.basicConfig(
            level=(settings.text("log_level") or "info").upper(),
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
            stream=sys.stderr,
        )
        for library in ("botocore", "boto3", "urllib3", "s3transfer", "pyfuse3"):
            logging.getLogger(library).setLevel(logging.WARNING)
        source = arguments.source if "://" in arguments.source else str(Path(arguments.source).absolute())
        mount = Mount(source, str(Path(arguments.mountpoint).absolute()), settings, parent.ready, parent.say)
        os.chdir("/")  # else the directory that it was started in could not be unmounted
        trio.run(serve, mount)
    except BaseException as error:
        cause = cause_of(error)
        if isinstance(cause, StorefsError):
            log.error("%s", cause)
            parent.fail(cause.exit_code, str(cause))
            return cause.exit_code
        log.exception("the daemon ends by a defect")
        parent.fail(1, repr(cause))
        return 1
    return 0


class _Parent:
    """Whoever started this process: told through a pipe (or standard output) how the start goes."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def ready(self) -> None:
        """Say that the mount is up."""
        self._tell("READY\n")
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        else:
            print("READY", flush=True)  # noqa: T201

    def say(self, text: str) -> None:
        """Say why it takes a while."""
        log.info("%s", text)
        self._tell(f"NOTE {_line(text)}\n")

    def fail(self, code: int, text: str) -> None:
        """Say that there will be no mount."""
        self._tell(f"ERROR {code} {_line(text)}\n")

    def _tell(self, text: str) -> None:
        if self._fd is not None:
            os.write(self._fd, text.encode())


def _line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()
