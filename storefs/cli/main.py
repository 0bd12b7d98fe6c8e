"""The command ``storefs``: its group, and the one place where errors become exit codes."""

import sys
from typing import Any

import click

import storefs
from storefs.cli.archive import archive
from storefs.cli.clone import clone
from storefs.cli.df import df
from storefs.cli.fsck import fsck
from storefs.cli.inspect import doctor, info, status, sync
from storefs.cli.launch import StartFailed
from storefs.cli.mount import mount, umount
from storefs.cli.output import say
from storefs.cli.pack import pack
from storefs.cli.snapshot import snapshot
from storefs.cli.upkeep import compact, gc
from storefs.cli.warm import warm
from storefs.errors import StorefsError


class _Group(click.Group):
    """A group whose commands fail with storefs' own errors."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StartFailed as error:
            say(f"storefs: {error}")
            sys.exit(error.code)
        except StorefsError as error:
            say(f"storefs: {error}")
            sys.exit(error.exit_code)
        except BrokenPipeError:
            sys.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(storefs.__version__, prog_name="storefs")
def main() -> None:
    """Mount an object store as a directory.

    \b
    storefs mount s3://bucket/prefix /mnt/data     mount a bucket's prefix
    storefs mount ~/store /mnt/data                mount a store kept in a directory
    storefs umount /mnt/data                       commit everything, then unmount

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the source is no store or not reachable, 4 credentials refused,
    5 not everything committed, 6 mountpoint in use or unusable, 7 no /dev/fuse or another missing part.
    """


for _command in (
    mount, umount, status, sync, warm, clone, info, df, doctor, fsck, gc, compact, snapshot, pack, archive,
):  # fmt: skip
    main.add_command(_command)


if __name__ == "__main__":
    main()
