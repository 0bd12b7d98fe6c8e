"""The filesystems that are measured side by side, the first of them storefs."""

from benchmarks.peers.juicefs import Juicefs
from benchmarks.peers.local import LocalDirectory
from benchmarks.peers.peer import Peer
from benchmarks.peers.rclone import Rclone
from benchmarks.peers.seaweedfs import Seaweedfs
from benchmarks.peers.storefs import Storefs

KINDS: dict[str, type[Peer]] = {kind.key: kind for kind in (Storefs, LocalDirectory, Juicefs, Rclone, Seaweedfs)}
"""By the names that the command line takes."""
