"""`make bench`, or `python -m bench`: measure everything, print one table, write bench/latest.json."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench import cases, machine, processes, table
from bench.processes import BenchFailed
from bench.registers import Stock

LATEST = Path(__file__).parent / "latest.json"
CACHE = Path(__file__).parent / "cache"
DISK = Path("/var/tmp")  # never in memory, unlike what most systems do for shorter-lived files (file-hierarchy(7))


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))  # as Ctrl-C: everything that was started is stopped
    scale = cases.QUICK if arguments.quick else cases.Scale(rounds=arguments.rounds)
    everything = cases.all_of(scale, is_quick=arguments.quick)
    names = cases.chosen([case.name for case in everything], arguments.only)
    doors = cases.chosen([*cases.DOOR_CASES], arguments.only)
    if not names and not doors:
        print("Cases:", *(case.name for case in everything), *cases.DOOR_CASES, sep="\n  ", file=sys.stderr)
        return 2
    if packages := cases.missing([*names, *doors]):
        print(f"Programs are missing; on Debian: apt install {' '.join(packages)}", file=sys.stderr)
        return 2
    return _measure(arguments, scale, [case for case in everything if case.name in names], doors)


def _measure(arguments: argparse.Namespace, scale: cases.Scale, chosen: list[cases.Case], doors: list[str]) -> int:
    began, load_before = time.monotonic(), os.getloadavg()[0]

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="mailer-bench-", dir=arguments.folder) as folder, processes.sink() as far:
        home = Path(folder)
        home.chmod(0o711)  # PostgreSQL runs as somebody else
        bench = cases.Bench(home, Stock(arguments.cache, scale.certificates), far, scale, say)
        try:
            bench.run(chosen, doors)
        except BenchFailed as error:
            print(f"The benchmark failed: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        found = table.to_json(bench.results, chosen, machine.facts(home, bench.results.postgresql, load_before))
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    print(table.to_text(found))
    say(f"done; the same as JSON: {arguments.output}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small round, to see that it works")
    parser.add_argument("--only", metavar="CASE", help="these cases alone; * and ? stand for what may differ")
    parser.add_argument("--rounds", type=int, default=3, help="how often each case is measured (3)")
    parser.add_argument("--folder", type=Path, default=DISK, help=f"a folder on the disk to measure ({DISK})")
    parser.add_argument("--cache", type=Path, default=CACHE, help="for certificates and registers (bench/cache)")
    parser.add_argument("--output", type=Path, default=LATEST, help="the JSON file (bench/latest.json)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
