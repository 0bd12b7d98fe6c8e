"""What commands print: plain lines, JSON, and what makes numbers readable."""

import json
import sys
from typing import Any

import click

JSON = click.option("--json", "as_json", is_flag=True, help="print all there is, as JSON")
"""Asks a command for ``show_json`` instead of lines."""


def say(text: str) -> None:
    """Print a line for people, to standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def show(text: str) -> None:
    """Print a line of the answer, to standard output."""
    print(text, flush=True)  # noqa: T201


def show_json(document: Any) -> None:
    """Print an answer for programs."""
    show(json.dumps(document, indent=2))


def readable(number: float) -> str:
    """Return a number of bytes as people read it: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(number) < 1024 or unit == "TiB":  # noqa: PLR2004
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError
