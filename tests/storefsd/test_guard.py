"""Handlers: what they raise reaches the kernel as an errno, and those that change the tree wait for their turn."""

import errno

import pytest
import trio
import trio.testing

pyfuse3 = pytest.importorskip("pyfuse3", reason="needs libfuse3")

from storefs.errors import NoSpace, PosixError  # noqa: E402
from storefsd.fuse.guard import changing, guarded  # noqa: E402


class Handlers:
    def __init__(self):
        self.errors = []
        self.calls = []
        self.free = trio.Event()

    def count_error(self, call, error):
        self.errors.append((call, type(error)))

    async def calm(self):
        await self.free.wait()

    @guarded
    async def look(self, error=None):
        self.calls.append("look")
        if error is not None:
            raise error
        return "seen"

    @changing
    async def change(self, error=None):
        self.calls.append("change")
        if error is not None:
            raise error
        return "changed"


@pytest.mark.parametrize(
    ("error", "number", "counted"),
    [(PosixError(errno.ENOENT), errno.ENOENT, False), (NoSpace("full"), errno.ENOSPC, True),
     (KeyError("defect"), errno.EIO, True), (pyfuse3.FUSEError(errno.ENOSYS), errno.ENOSYS, False)],
)  # fmt: skip
@pytest.mark.parametrize("call", ["look", "change"])
async def test_errors_become_errnos(error, number, counted, call):
    handlers = Handlers()
    handlers.free.set()
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await getattr(handlers, call)(error)
    assert caught.value.errno == number
    assert handlers.errors == ([(call, type(error))] if counted else [])


async def test_a_handler_that_changes_the_tree_waits_and_others_go_on():
    handlers = Handlers()
    answers = []

    async def run(call):
        answers.append(await call())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, handlers.change)
        await trio.testing.wait_all_tasks_blocked()
        await run(handlers.look)
        assert handlers.calls == ["look"]
        handlers.free.set()
    assert answers == ["seen", "changed"]
