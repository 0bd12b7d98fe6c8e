"""Progress: bars for somebody who watches."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from storefs.engine.replay import Progress


@contextmanager
def progress_bars(labels: dict[str, str]) -> Iterator[Progress]:
    """Hand out what shows how far the parts of a work are, one bar after another, if somebody watches.

    ``labels`` says what stands before the bar of each part. The bars go to standard error, so that the answer can be
    read by a program; when that is no terminal, there are none.
    """
    bar: Any = None
    shown = ""

    def end() -> None:
        if bar is not None:
            bar.__exit__(None, None, None)

    def progress(what: str, done: int, total: int) -> None:
        nonlocal bar, shown
        if what != shown:
            end()
            bar = click.progressbar(length=total, label=labels[what], file=sys.stderr)
            bar.__enter__()
            shown = what
        bar.update(done - bar.pos)

    if not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    try:
        yield progress
    finally:
        end()
