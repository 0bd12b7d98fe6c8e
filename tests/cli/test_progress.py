"""Progress is shown to who watches, and to nobody else."""

import io
import sys

import pytest

from storefs.cli.progress import progress_bars

SHOW_CURSOR = "\x1b[?25h"
LABELS = {"journal": "reading the journal", "tree": "checking the tree"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watched(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal. No fixture: pytest sets it again between the fixtures and the test."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_each_part_has_a_bar_of_its_own(monkeypatch, capsys):
    terminal = watched(monkeypatch)
    with progress_bars(LABELS) as progress:
        for what in LABELS:
            for done in range(5):
                progress(what, done, 4)
    first, second, _ = terminal.getvalue().split("\n")
    for line, label in ((first, "reading the journal"), (second, "checking the tree")):
        drawn = [part for part in line.split("\r") if part]
        assert all(label in part for part in drawn)
        assert "  0%" in drawn[0]
        assert "100%" in drawn[-1]
    assert capsys.readouterr().out == "", "the answer is for programs"


def test_a_bar_ends_where_the_work_fails(monkeypatch):
    terminal = watched(monkeypatch)

    def work() -> None:
        with progress_bars(LABELS) as progress:
            progress("journal", 1, 4)
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - it is the one that was raised
        work()
    assert terminal.getvalue().endswith(f"{SHOW_CURSOR}\n")


def test_who_does_not_watch_is_told_nothing(monkeypatch):
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with progress_bars(LABELS) as progress:
        progress("journal", 1, 4)
        progress("no part at all", 1, 4)
    assert pipe.getvalue() == ""
