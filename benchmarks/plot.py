"""The ratios as a bar chart: how many times as fast storefs is as each peer, in SVG by hand."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from benchmarks.bench import Results
from benchmarks.peers import KINDS
from benchmarks.report import number, ratios_of
from benchmarks.rows import TABLE, Faster

_LEFT, _RIGHT, _WIDTH = 370, 60, 900
_BAR, _GAP, _TOP, _LABEL = 11, 12, 58, 40
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_CLASSES = {"juicefs": "p1", "rclone": "p2", "seaweedfs": "p3", "local": "p4"}

_ABOUT = "How many times as fast storefs is as its peers"
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 } .small { font-size: 10px; fill: #59636e }
.grid { stroke: #d1d9e0 } .one { stroke: #59636e } .goal { stroke: #cf222e; stroke-width: 2 }
.p1 { fill: #0969da } .p2 { fill: #bf8700 } .p3 { fill: #8250df } .p4 { fill: #818b98 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .small { fill: #9198a1 } .grid { stroke: #3d444d } .one { stroke: #9198a1 }
.goal { stroke: #ff7b72 } .p1 { fill: #4493f8 } .p2 { fill: #d29922 } .p3 { fill: #ab7df8 } .p4 { fill: #656c76 } }
"""


def svg(results: Results, peers: Sequence[str]) -> str:
    """Return the chart: a group of bars for each row with ratios, on a logarithmic scale."""
    shown = [peer for peer in peers if peer in _CLASSES]
    groups = [(row, ratios) for row in TABLE if (ratios := ratios_of(row, results))]
    parts: list[str] = []
    y = _TOP
    for row, ratios in groups:
        goals = {peer: bar.factor for bar in row.bars if isinstance(bar, Faster) for peer in bar.peers}
        present = [peer for peer in shown if peer in ratios]
        middle = y + len(present) * _BAR / 2 + 4
        title = f"{row.letter}. {row.title.replace('`', '')}"
        parts.append(f'<text x="{_LEFT - 10}" y="{middle:g}" text-anchor="end">{escape(title)}</text>')
        for peer in present:
            parts += _bar(y, peer, ratios[peer], goals.get(peer))
            y += _BAR
        y += _GAP
    height = y + 14
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
            f"<title>{_ABOUT}</title>",
            f"<style>{_STYLE}</style>",
            *_legend(shown),
            *_grid(height),
            *parts,
            "</svg>",
            "",
        ]
    )


def _x(ratio: float) -> float:
    """Return where a ratio lies on the logarithmic scale; what is off the scale lies at its end."""
    low, high = math.log(_TICKS[0]), math.log(_TICKS[-1])
    at = (math.log(max(ratio, 1e-9)) - low) / (high - low)
    return _LEFT + min(max(at, 0), 1) * (_WIDTH - _LEFT - _RIGHT)


def _bar(y: float, peer: str, ratio: float, goal: float | None) -> list[str]:
    first, last = sorted((_x(1), _x(ratio)))
    name = KINDS[peer].name
    label = f"storefs is {number(ratio)} times as fast as {name}"
    place = f'x="{first:.1f}" y="{y}" width="{max(last - first, 1):.1f}" height="{_BAR - 2}"'
    # At the end of the bar; where that is the end of the scale, at its start.
    outside = ratio < 1 and first > _LEFT + _LABEL
    beside = f'x="{first - 4:.1f}" text-anchor="end"' if outside else f'x="{last + 4:.1f}"'
    parts = [
        f'<rect class="{_CLASSES[peer]}" {place}><title>{label}</title></rect>',
        f'<text class="small" {beside} y="{y + _BAR - 3}">{number(ratio)} x</text>',
    ]
    if goal is not None:
        at = f"{_x(goal):.1f}"
        parts.append(f'<line class="goal" x1="{at}" x2="{at}" y1="{y - 1}" y2="{y + _BAR - 1}"/>')
    return parts


def _legend(peers: Sequence[str]) -> list[str]:
    parts = ['<text x="10" y="18">storefs : peer, times as fast (right of 1 storefs is faster)</text>']
    x = _LEFT + 50
    for peer in peers:
        name = KINDS[peer].name
        parts.append(f'<rect class="{_CLASSES[peer]}" x="{x}" y="9" width="10" height="10"/>')
        parts.append(f'<text x="{x + 14}" y="18">{name}</text>')
        x += 30 + 7 * len(name)
    parts.append(f'<line class="goal" x1="{x}" x2="{x}" y1="8" y2="20"/><text x="{x + 6}" y="18">bar</text>')
    return parts


def _grid(height: float) -> list[str]:
    parts = []
    for tick in _TICKS:
        x = f"{_x(tick):.1f}"
        kind = "one" if tick == 1 else "grid"
        parts.append(f'<line class="{kind}" x1="{x}" x2="{x}" y1="{_TOP - 10}" y2="{height - 10}"/>')
        parts.append(f'<text class="small" x="{x}" y="{_TOP - 15}" text-anchor="middle">{tick:g}</text>')
    return parts
