"""The session: one mount in the kernel, from its options to its end."""

import logging
from pathlib import Path

import pyfuse3
import trio

from storefs.errors import MissingPart, MountpointError
from storefs.settings import Settings
from storefs.volume.volume import Volume
from storefsd.control.files import ControlFiles
from storefsd.fuse.added import AddedOperations
from storefsd.fuse.bridge import Bridge
from storefsd.fuse.kernel import KernelPushes
from storefsd.fuse.loop import RequestLoop
from storefsd.fuse.operations import Operations
from storefsd.fuse.reply import Replies
from storefsd.heartbeat import Heartbeat

log = logging.getLogger(__name__)


class Session:
    """A mount, served by a volume. A process has one."""

    def __init__(
        self,
        source: str,
        mountpoint: Path,
        settings: Settings,
        volume: Volume,
        control: ControlFiles,
        kernel: KernelPushes,
        bridge: Bridge,
        heartbeat: Heartbeat,
    ) -> None:
        self._mountpoint = mountpoint
        self._kernel = kernel
        self._loop: RequestLoop | None = None
        replies = Replies(settings.whole("uid"), settings.whole("gid"))
        self._bridge = bridge
        self._operations = Operations(volume, replies, control, self._bridge)
        self._added = AddedOperations(volume, control)
        self._heartbeat = heartbeat
        volume.control.kernel = self._state
        options = {*pyfuse3.default_options, f"fsname={_escaped(source)}", "subtype=storefs"}
        if settings.flag("ro"):
            options.add("ro")
        if settings.flag("allow_other"):
            options.add("allow_other")
        self._options = options

    def mount(self) -> None:
        """Mount. Raises MountpointError, MissingPart."""
        self._bridge.enable(self._added)
        try:
            pyfuse3.init(self._operations, str(self._mountpoint), self._options)
        except FileNotFoundError as error:
            raise MissingPart(f"cannot mount: {error}") from error
        except RuntimeError as error:
            raise MountpointError(
                f"cannot mount on {self._mountpoint}: {error}. The log has what the system said; common reasons:"
                " fusermount3 is missing (package fuse3), /dev/fuse may not be opened,"
                " allow_other without user_allow_other in /etc/fuse.conf"
            ) from error
        self._loop = RequestLoop()

    def answered(self) -> None:
        """Take note that the kernel had an answer: from now on it takes what is pushed. Before, it refuses."""
        self._kernel.start()

    async def run(self) -> None:
        """Serve requests until the mount is gone or ``stop`` is called."""
        assert self._loop is not None
        await self._bridge.run(self._loop.run)

    def _state(self) -> dict[str, object]:
        """Return what the status of the mount says of its kernel side."""
        return {
            **self._bridge.state(),
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "requests": self._loop.requests if self._loop is not None else 0,
            "stall_ms_max": round(1000 * self._heartbeat.take(), 1),
        }

    def stop(self) -> None:
        """Let ``run`` return."""
        assert self._loop is not None
        self._loop.stop()

    def unmount(self) -> None:
        """Unmount if it is still mounted; let go of what is in use, for the kernel is."""
        self._kernel.stop()
        pyfuse3.close(unmount=True)


def _escaped(source: str) -> str:
    """Return the source as an option's value: a comma would end it."""
    return source.replace("\\", "\\\\").replace(",", "\\,")
