"""A proxy on loopback in front of a server, which writes down the requests that go through it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

import trio

_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n(.*?\r\n)\r\n", re.DOTALL)
_RANGE = re.compile(rb"^range: (\S+)\r$", re.MULTILINE | re.IGNORECASE)


@dataclass
class Proxy:
    """What went through: method, path with query, and the range that was asked for."""

    endpoint: str
    seen: list[tuple[str, str, str | None]] = field(default_factory=list)

    def take(self) -> list[tuple[str, str, str | None]]:
        """Return what was asked since the last time."""
        seen, self.seen = self.seen, []
        return seen


@asynccontextmanager
async def proxy(server: str) -> AsyncIterator[Proxy]:
    """Run a proxy in front of ``server``, an http:// address. Requests must have no bodies."""
    behind = urlsplit(server)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        found = Proxy(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        handler = partial(_serve, found, behind.hostname, behind.port)
        nursery.start_soon(trio.serve_listeners, handler, listeners)
        yield found
        nursery.cancel_scope.cancel()


async def _serve(found: Proxy, host: str, port: int, client: trio.SocketStream) -> None:
    async with client, await trio.open_tcp_stream(host, port) as server, trio.open_nursery() as nursery:
        nursery.start_soon(_answer, server, client)
        waiting = b""
        async for data in client:
            waiting += data
            while match := _REQUEST.match(waiting):
                part = _RANGE.search(match[3])
                found.seen.append((match[1].decode(), match[2].decode(), part[1].decode() if part else None))
                waiting = waiting[match.end() :]
            await server.send_all(data)
        nursery.cancel_scope.cancel()


async def _answer(server: trio.SocketStream, client: trio.SocketStream) -> None:
    async for data in server:
        await client.send_all(data)
