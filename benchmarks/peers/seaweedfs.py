"""The mount of SeaweedFS itself: no S3 in between. For comparison; it is no S3 client."""

from pathlib import Path
from typing import ClassVar

from benchmarks.command import BIN
from benchmarks.peers.peer import ForegroundPeer
from storefs.testing.s3server import S3Server


class Seaweedfs(ForegroundPeer):
    """A mount of the server's own directory tree."""

    key: ClassVar[str] = "seaweedfs"
    name: ClassVar[str] = "SeaweedFS"
    program: ClassVar[str | None] = "weed"

    def __init__(self, home: Path, server: S3Server) -> None:
        super().__init__(home, server)
        self.directory = self.mountpoint / home.parent.name

    def prepare(self) -> None:
        """Make a bucket of its own, and a folder in it."""
        super().prepare()
        self.server.create_bucket(self.key)
        with self.mounted():
            pass

    def command(self, *, ro: bool) -> list[str | Path]:
        """Return the command line that mounts it."""
        filer = self.server._ports["filer"]  # noqa: SLF001 - nobody but its own mount talks to this service
        flags = ["-readOnly"] if ro else []
        return [
            *(BIN / "weed", "mount", f"-filer=127.0.0.1:{filer}", f"-filer.path=/buckets/{self.key}"),
            *(f"-dir={self.mountpoint}", f"-cacheDir={self.cache}", *flags),
        ]

    def mount(self, *, ro: bool = False) -> None:
        """Mount the bucket; the store is a folder in it."""
        super().mount(ro=ro)
        if not ro:
            self.directory.mkdir(exist_ok=True)
