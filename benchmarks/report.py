"""The results as a Markdown table: medians, ratios, bars and whether they hold."""

from collections.abc import Sequence

from benchmarks.bench import Results
from benchmarks.peers import KINDS
from benchmarks.rows import TABLE, Row

NOTHING = "-"
_NAMES = {key: kind.name for key, kind in KINDS.items()}


def table(results: Results, peers: Sequence[str], letters: set[str]) -> str:
    """Return the table of the rows that were asked for, with a column for each peer and for each ratio."""
    others = [peer for peer in peers if peer != "storefs"]
    head = ["row", "", "unit", *(_NAMES[peer] for peer in peers), *(f": {_NAMES[peer]}" for peer in others)]
    lines = [[*head, "bar", "holds"], ["---", "---", "---", *["---:"] * (len(head) - 3), "---", "---"]]
    shown = ""
    for row in TABLE:
        if row.letter not in letters:
            continue
        lines.append([row.letter if row.letter != shown else "", *_cells(row, results, peers, others)])
        shown = row.letter
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(row: Row, results: Results, peers: Sequence[str], others: Sequence[str]) -> list[str]:
    medians = results.medians(row.key)
    values = [number(medians[peer]) if peer in medians else NOTHING for peer in peers]
    ratios = ratios_of(row, results)
    shown = [f"{number(ratios[peer])} x" if peer in ratios else NOTHING for peer in others]
    bars = "; ".join(bar.text(_NAMES) for bar in row.bars)
    held = "; ".join({True: "yes", False: "**no**", None: "not measured"}[bar.holds(medians)] for bar in row.bars)
    return [row.title, row.unit, *values, *shown, bars, held]


def ratios_of(row: Row, results: Results) -> dict[str, float]:
    """Return, for each other peer that was measured, how many times as fast storefs is."""
    medians = results.medians(row.key)
    if not row.speeds or "storefs" not in medians:
        return {}
    return {peer: medians["storefs"] / value for peer, value in medians.items() if peer != "storefs"}


def number(value: float) -> str:
    """Return a value with three digits, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 or not value else f"{value:.2g}"


def bars_counted(results: Results, letters: set[str]) -> str:
    """Return how many bars are reached, are not, and could not be measured."""
    bars = [(bar, results.medians(row.key)) for row in TABLE if row.letter in letters for bar in row.bars]
    held = [bar.holds(medians) for bar, medians in bars]
    return f"{held.count(True)} bars are reached, {held.count(False)} are not, {held.count(None)} were not measured"
