"""Commands and workloads as processes of their own, each under a limit: a mount that hangs must not hang the run."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent

_COMMAND_LIMIT_S = 600.0
_WORK_LIMIT_S = 1800.0
_KILL_LIMIT_S = 10.0
_TAIL_CHARACTERS = 2000
_SHOWN_CHARACTERS = 160


class Failed(Exception):
    """A command or a workload failed, or took longer than its limit."""


def run(*command: str | Path, limit_s: float = _COMMAND_LIMIT_S, cwd: Path | str = "/") -> str:
    """Run a command to its end; return what it printed. Raises Failed with the end of its messages."""
    line = [str(word) for word in command]
    with subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        start_new_session=True,
    ) as process:
        try:
            printed, said = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            kill_group(process)
            raise Failed(f"{_short(line)} took longer than {limit_s:g} s") from None
        except BaseException:
            kill_group(process)
            raise
    if process.returncode:
        raise Failed(
            f"{_short(line)} ended with {process.returncode}:\n{printed[-_TAIL_CHARACTERS:]}{said[-_TAIL_CHARACTERS:]}"
        )
    return printed


def work(verb: str, *, limit_s: float = _WORK_LIMIT_S, **arguments: Any) -> dict[str, Any]:
    """Run a workload of ``benchmarks.work`` in a process of its own; return what it measured. Raises Failed."""
    text = json.dumps(arguments, default=str)
    found: dict[str, Any] = json.loads(
        run(sys.executable, "-m", "benchmarks.work", verb, text, limit_s=limit_s, cwd=ROOT)
    )
    return found


def kill_group(process: "subprocess.Popen[Any]") -> None:
    """Kill a process that leads its session, with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # One that waits for a hanging mount goes only when that mount does.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILL_LIMIT_S)


def _short(line: list[str]) -> str:
    text = " ".join(line)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
