"""storefs on the S3 server; only places differ from its defaults."""

import json
import time
from typing import Any, ClassVar

from benchmarks.command import BIN, run
from benchmarks.peers.peer import Peer
from storefs.settings import join_options
from storefs.testing.mounted import end_mounts

_MOUNT_LIMIT_S = 300.0


class Storefs(Peer):
    """A storefs mount, started and ended by its own commands."""

    key: ClassVar[str] = "storefs"
    name: ClassVar[str] = "storefs"

    @property
    def source(self) -> str:
        """The store, a prefix in the bucket of storefs."""
        return f"s3://{self.key}/{self.home.parent.name}"

    @property
    def options(self) -> dict[str, str]:
        """The settings of its mounts."""
        return {"endpoint_url": self.server.endpoint, "cache_dir": str(self.cache)}

    def prepare(self) -> None:
        """Make a bucket; the first mount makes a store in it."""
        super().prepare()
        self.server.create_bucket(self.key)

    def mount(self, *, ro: bool = False) -> None:
        """Mount by the command, which returns when the mount is up."""
        self.mount_timed(ro=ro)

    def mount_timed(self, *, ro: bool = False) -> float:
        """Mount; return how long the command took."""
        options = {**self.options, **({"ro": "yes"} if ro else {})}
        start_s = time.perf_counter()
        line = (self.source, self.mountpoint, "-o", join_options(options))
        run(BIN / "storefs", "mount", *line, limit_s=_MOUNT_LIMIT_S)
        return time.perf_counter() - start_s

    def umount(self) -> None:
        """Unmount; returns when all is committed."""
        run(BIN / "storefs", "umount", self.mountpoint)

    def kill(self) -> None:
        """Kill the daemon and take the dead mount away."""
        end_mounts(self.mountpoint)

    def settle(self) -> None:
        """Commit everything."""
        run(BIN / "storefs", "sync", self.mountpoint)

    def status(self) -> dict[str, Any]:
        """Return what the mount says of itself."""
        document: dict[str, Any] = json.loads(run(BIN / "storefs", "status", "--json", self.mountpoint))
        return document

    def requests(self) -> int:
        """Return how many requests for something in the store this mount has sent since its start."""
        counts = self.status()["requests"]["store_requests"]
        kinds = ("get", "head", "list_after")
        return int(sum(number for kind in kinds for number in counts.get(kind, {}).values()))
