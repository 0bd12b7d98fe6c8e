"""What is measured: each module sets up what its rows need, and lets the peers take turns."""

from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.scenarios import large, listing, million, small, tensors

SCENARIOS: tuple[tuple[str, Callable[[Bench], None]], ...] = (
    ("abc", small.measure_reads),
    ("d", small.measure_creates),
    ("e", listing.measure),
    ("fghi", large.measure),
    ("j", tensors.measure),
    ("kl", million.measure),
)
"""Rows and what measures them."""
