"""JuiceFS with its metadata in SQLite and its objects on the S3 server; only places differ from its defaults."""

from pathlib import Path
from typing import ClassVar

from benchmarks.command import BIN, run
from benchmarks.peers.peer import ForegroundPeer


class Juicefs(ForegroundPeer):
    """A JuiceFS mount."""

    key: ClassVar[str] = "juicefs"
    name: ClassVar[str] = "JuiceFS"
    program: ClassVar[str | None] = "juicefs"

    @property
    def _meta(self) -> str:
        return f"sqlite3://{self.home / 'meta.db'}"

    def prepare(self) -> None:
        """Format a volume in a bucket of its own."""
        super().prepare()
        self.server.create_bucket(self.key)
        keys = ("--access-key", self.server.access_key, "--secret-key", self.server.secret_key)
        bucket = f"{self.server.endpoint}/{self.key}"
        # The volume's name is the prefix of its objects.
        run(BIN / "juicefs", "format", "--storage", "s3", "--bucket", bucket, *keys, self._meta, self.home.parent.name)

    def command(self, *, ro: bool) -> list[str | Path]:
        """Return the command line that mounts it."""
        flags = ["--read-only"] if ro else []
        return [
            *(BIN / "juicefs", "mount", "--no-usage-report", "--no-syslog"),
            *("--cache-dir", str(self.cache), *flags, self._meta, str(self.mountpoint)),
        ]
