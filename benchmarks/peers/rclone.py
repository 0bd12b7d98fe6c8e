"""rclone mount with its full cache, on the S3 server."""

import json
import time
from pathlib import Path
from typing import ClassVar

from benchmarks.command import BIN, Failed, run
from benchmarks.peers.peer import ForegroundPeer

_SETTLE_LIMIT_S = 900.0


class Rclone(ForegroundPeer):
    """An rclone mount. It uploads behind its cache: neither close nor fsync waits for that."""

    key: ClassVar[str] = "rclone"
    name: ClassVar[str] = "rclone"
    program: ClassVar[str | None] = "rclone"

    @property
    def _socket(self) -> Path:
        return self.home / "control"

    def prepare(self) -> None:
        """Make a bucket of its own."""
        super().prepare()
        self.server.create_bucket(self.key)

    def environment(self) -> dict[str, str]:
        """Return the S3 server as a remote."""
        return {
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_BENCH_TYPE": "s3",
            "RCLONE_CONFIG_BENCH_PROVIDER": "SeaweedFS",
            "RCLONE_CONFIG_BENCH_ENDPOINT": self.server.endpoint,
            "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": self.server.access_key,
            "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": self.server.secret_key,
        }

    def command(self, *, ro: bool) -> list[str | Path]:
        """Return the command line that mounts it."""
        self._socket.unlink(missing_ok=True)
        flags = ["--read-only"] if ro else []
        return [
            BIN / "rclone",
            "mount",
            f"bench:{self.key}/{self.home.parent.name}",
            self.mountpoint,
            *flags,
            *("--vfs-cache-mode", "full", "--cache-dir", str(self.cache)),
            *("--rc", "--rc-no-auth", "--rc-addr", f"unix://{self._socket}"),
        ]

    def settle(self) -> None:
        """Wait until nothing is left to upload."""
        until_s = time.monotonic() + _SETTLE_LIMIT_S
        while True:
            state = json.loads(run(BIN / "rclone", "rc", "--unix-socket", self._socket, "vfs/stats"))["diskCache"]
            if not state["uploadsInProgress"] and not state["uploadsQueued"]:
                return
            if time.monotonic() > until_s:
                raise Failed(f"{self.name} has not uploaded everything within {_SETTLE_LIMIT_S:g} s: {state}")
            time.sleep(0.5)
