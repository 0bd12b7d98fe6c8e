"""Workers: processes that share a packer's jobs. They hear of jobs by the paths of files, and answer in JSON."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from storefs.archive.job import Done
from storefs.errors import NoSpace, StorefsError, cause_of

_COMMAND = (sys.executable, "-P", "-m", "storefs.archive.worker")
_ANSWER_BYTES = 64 << 10


class Worker:
    """One process. It does one job at a time."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._left = b""

    async def run(self, job: Path) -> Done:
        """Do a job. Raises NoSpace, StorefsError."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            await stdin.send_all(f"{json.dumps(str(job))}\n".encode())
            answer = json.loads(await self._line())
        except (trio.BrokenResourceError, EOFError) as error:
            raise StorefsError("a process that packs files ended before its time: is there enough memory?") from error
        if "error" in answer:
            raise (NoSpace if answer["full"] else StorefsError)(answer["error"])
        return Done.parse(answer)

    async def _line(self) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None
        parts = [self._left]
        while b"\n" not in parts[-1]:
            part = await stdout.receive_some(_ANSWER_BYTES)
            if not part:
                raise EOFError
            parts.append(bytes(part))
        line, _, self._left = b"".join(parts).partition(b"\n")
        return line


@asynccontextmanager
async def workers(count: int) -> AsyncIterator[list[Worker]]:
    """Run ``count`` processes; at the end they are gone."""
    try:
        async with trio.open_nursery() as nursery:
            processes: list[trio.Process] = [await nursery.start(_run) for _ in range(count)]
            yield [Worker(process) for process in processes]
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as error:
        raise cause_of(error) from None


async def _run(task_status: trio.TaskStatus[trio.Process]) -> None:
    # In a session of its own: who interrupts the packer by the keyboard means the packer, which ends them.
    await trio.run_process(
        _COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        check=False,
        task_status=task_status,
    )
