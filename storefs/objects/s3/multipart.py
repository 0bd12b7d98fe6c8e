"""Sends a long body in parts, several at a time; the object appears whole or not at all."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import trio

from storefs.errors import StorefsError, StoreUnavailable
from storefs.objects.bodies import body_size, open_body
from storefs.objects.s3.options import MIB, S3Options
from storefs.objects.s3.window import Window
from storefs.ports import Body

_log = logging.getLogger(__name__)

PARTS_MAX = 10_000
"""The most parts S3 allows."""

_ABORT_S = 10.0


class Ask(Protocol):
    """Runs a call of the client in a thread; its failures are the errors of storefs."""

    async def __call__(self, doing: str, work: Callable[[], Any]) -> Any:
        """Return ``work()``; ``doing`` names the request in errors."""
        ...


@dataclass(frozen=True, slots=True)
class Upload:
    """One body on its way: ``address`` names bucket and key, ``condition`` what must hold when it is completed."""

    client: Any
    ask: Ask
    options: S3Options
    address: dict[str, str]
    condition: dict[str, str]
    body: Body

    async def run(self) -> str:
        """Send the body; return the object's tag. Whatever fails, no part stays behind if the store can be reached."""
        size = body_size(self.body)
        key = self.address["Key"]
        begin = self.address | self.options.written
        begun = await self.ask(f"begin upload of {key}", partial(self.client.create_multipart_upload, **begin))
        address = self.address | {"UploadId": begun["UploadId"]} | self.options.payer
        try:
            tags = await self._send(address, size)
            await self._check(address, len(tags), size)
            parts = [{"PartNumber": number, "ETag": tags[number]} for number in sorted(tags)]
            done = await self.ask(
                f"complete upload of {key}",
                partial(
                    self.client.complete_multipart_upload, MultipartUpload={"Parts": parts}, **address, **self.condition
                ),
            )
        except BaseException:
            await self._abort(address)
            raise
        return str(done["ETag"])

    async def _send(self, address: dict[str, str], size: int) -> dict[int, str]:
        """Send every part; return their tags by number."""
        length = part_length(size, self.options.part_bytes)
        left = iter(range(1, -(-size // length) + 1))
        tags: dict[int, str] = {}
        failures: list[StorefsError] = []

        def send_one(number: int) -> str:
            start = (number - 1) * length
            with Window(open_body(self.body), start, min(length, size - start)) as part:
                return str(self.client.upload_part(PartNumber=number, Body=part, **address)["ETag"])

        async def send_some(scope: trio.CancelScope) -> None:
            for number in left:
                try:
                    tags[number] = await self.ask(f"send part {number} of {address['Key']}", partial(send_one, number))
                except StorefsError as error:
                    failures.append(error)
                    scope.cancel()

        async with trio.open_nursery() as nursery:
            for _ in range(self.options.part_workers):
                nursery.start_soon(send_some, nursery.cancel_scope)
        if failures:
            raise failures[0]
        return tags

    async def _check(self, address: dict[str, str], count: int, size: int) -> None:
        """Compare what the store holds with what was sent, before anyone can see it. Raises StoreUnavailable."""

        def held() -> tuple[int, int]:
            pages = self.client.get_paginator("list_parts").paginate(**address)
            sizes = [int(part["Size"]) for page in pages for part in page.get("Parts", [])]
            return len(sizes), sum(sizes)

        found = await self.ask(f"check upload of {address['Key']}", held)
        if found != (count, size):
            raise StoreUnavailable(
                f"upload of {address['Key']}: sent {count} parts of {size} bytes, "
                f"but the store holds {found[0]} of {found[1]} bytes"
            )

    async def _abort(self, address: dict[str, str]) -> None:
        """Give up the upload, even when cancelled."""
        with trio.move_on_after(_ABORT_S, shield=True):
            try:
                await self.ask(
                    f"give up upload of {address['Key']}", partial(self.client.abort_multipart_upload, **address)
                )
            except StorefsError as error:
                _log.warning("parts of an upload may stay in the store: %s", error)


def part_length(size: int, wanted: int) -> int:
    """Return the length of the parts of ``size`` bytes: ``wanted``, or more (whole MiB) where that made too many."""
    least = -(-size // PARTS_MAX)
    return max(wanted, -(-least // MIB) * MIB)
