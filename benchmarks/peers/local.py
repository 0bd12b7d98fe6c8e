"""A plain directory of the disk on which the others keep their caches and the S3 server its data."""

from typing import ClassVar

from benchmarks.peers.peer import Peer


class LocalDirectory(Peer):
    """Nothing to mount, no cache but the kernel's."""

    key: ClassVar[str] = "local"
    name: ClassVar[str] = "local"

    def mount(self, *, ro: bool = False) -> None:
        """It is there already."""

    def umount(self) -> None:
        """It stays there."""

    def kill(self) -> None:
        """Nothing runs."""
