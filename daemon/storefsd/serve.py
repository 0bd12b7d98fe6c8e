"""Serving: from the options of a mount to its end."""

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from storefs import wiring
from storefs.cache.home import CacheHome
from storefs.core.references import References
from storefs.engine.engine import Engine, running
from storefs.metrics import Metrics
from storefs.settings import Settings
from storefs.volume.volume import Volume
from storefsd import mountpoint, warden
from storefsd.control.files import ControlFiles
from storefsd.ending import Ending
from storefsd.fuse.bridge import Bridge
from storefsd.fuse.kernel import KernelPushes
from storefsd.fuse.session import Session
from storefsd.heartbeat import Heartbeat

log = logging.getLogger(__name__)

_CACHE_WAIT_S = 120.0
_ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Mount:
    """What is mounted where, and whom to tell: ``ready`` once it is, ``say`` what happens on the way."""

    source: str
    mountpoint: str
    settings: Settings
    ready: Callable[[], None]
    say: Callable[[str], None]


async def serve(mount: Mount) -> None:
    """Mount, and serve until the mount is gone and everything is committed.

    Raises the StorefsError that stopped it; NotCommitted when changes stay behind in the cache directory.
    """
    path = mountpoint.prepare(mount.mountpoint)
    metrics = Metrics()
    store = wiring.connect(mount.source, mount.settings, metrics)
    try:
        info = await wiring.identify(store, mount.settings)
        home = await wiring.lock_cache(info, mount.settings, str(path), _CACHE_WAIT_S, mount.say)
        try:
            await wiring.drop_outdated(store, home)
            references, bridge = References(), Bridge(wanted=mount.settings.flag("bridge"))
            kernel, heartbeat = KernelPushes(bridge), Heartbeat()
            world = wiring.world(store, kernel)
            limits = wiring.limits(mount.settings, home.path)
            ro = mount.settings.flag("ro")
            async with running(world, info, home, limits, references, ro=ro) as engine:
                volume = Volume(engine, references, metrics, str(path))
                session = Session(mount.source, path, mount.settings, volume, _owned(volume), kernel, bridge, heartbeat)
                await _serve_session(mount, engine, session, home, path, heartbeat)
        finally:
            home.release()
    finally:
        with trio.CancelScope(shield=True):
            await store.close()


def _owned(volume: Volume) -> ControlFiles:
    return ControlFiles(volume.control, volume.engine.world.clock, os.geteuid(), os.getegid())


async def _serve_session(
    mount: Mount, engine: Engine, session: Session, home: CacheHome, path: Path, heartbeat: Heartbeat
) -> None:
    """Serve requests until somebody unmounts, or a signal asks to end; then see that everything is committed."""
    ending = Ending(engine, session)
    # One receiver from before the mount to the very end: a signal in a gap would kill the process as it stands.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ending.watch, signals)
            nursery.start_soon(heartbeat.run)
            session.mount()
            if (device := mountpoint.device(path)) is not None:
                warden.start(path, device.partition(":")[2])
            try:
                log.info("mounted %s at %s (node %d)", mount.source, path, engine.writer.node)
                nursery.start_soon(_announce, mount, session, path)
                await session.run()
            finally:
                ending.unmounted()
                session.unmount()
            home.announce(str(path), finishing=True)
            log.info("unmounted %s", path)
            await ending.finish()
            nursery.cancel_scope.cancel()


async def _announce(mount: Mount, session: Session, path: Path) -> None:
    """Say that the mount is up once it has answered."""
    with trio.move_on_after(_ANSWER_S):
        await trio.to_thread.run_sync(mountpoint.open_once, path, abandon_on_cancel=True)
        mountpoint.raise_read_ahead(path)  # not before the first answer: the handshake would take it back
    session.answered()
    mount.ready()
