"""The one place where errors meet the kernel: a handler that fails answers an errno and never ends the mount."""

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import pyfuse3

from storefs.errors import PosixError, StorefsError

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class Counts(Protocol):
    """Whatever has handlers: it is told of each failure that is no ordinary refusal."""

    def count_error(self, call: str, error: Exception) -> None:
        """Count a failure."""
        ...


S = TypeVar("S", bound=Counts)


def guarded(
    handler: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """Let a handler fail with nothing but FUSEError: an exception of another kind would end pyfuse3's main loop."""

    @functools.wraps(handler)
    async def call(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await handler(self, *args, **kwargs)
        except PosixError as error:
            raise pyfuse3.FUSEError(error.errno) from None
        except StorefsError as error:
            log.error("%s failed: %s", handler.__name__, error)
            self.count_error(handler.__name__, error)
            raise pyfuse3.FUSEError(error.errno) from None
        except pyfuse3.FUSEError:
            raise
        except Exception as error:
            log.exception("%s failed unexpectedly", handler.__name__)
            self.count_error(handler.__name__, error)
            raise pyfuse3.FUSEError(errno.EIO) from None

    return call  # type: ignore[return-value]


class Changes(Counts, Protocol):
    """Whatever has handlers that change the tree."""

    async def calm(self) -> None:
        """Return when a change of the tree is in nobody's way."""
        ...


C = TypeVar("C", bound=Changes)


def changing(
    handler: Callable[Concatenate[C, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[C, P], Coroutine[Any, Any, R]]:
    """Guard a handler that changes the tree; it waits while a long commit of others is being taken in."""

    @functools.wraps(handler)
    async def call(self: C, *args: P.args, **kwargs: P.kwargs) -> R:
        await self.calm()
        return await handler(self, *args, **kwargs)

    return guarded(call)  # type: ignore[arg-type]
