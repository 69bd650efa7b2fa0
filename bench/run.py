#!/usr/bin/env python3
"""Measures culvert on loopback beside what it is compared with. How to read it: bench/README.md."""

import argparse
import collections
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

from culvert_bench import report
from culvert_bench.contenders import CONTENDERS
from culvert_bench.measurements import Measurements
from culvert_bench.processes import Failed, raise_descriptor_limit
from culvert_bench.services import Services

METRICS = ("throughput", "requests", "latency", "memory")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build", help="the build folder (build)")
    parser.add_argument("--culvert", help="the binary (BUILD/culvert)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median counts (3)")
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement (5)")
    parser.add_argument("--only", metavar="CONTENDER,...",
                        help=f"of {', '.join(CONTENDERS)} (`ssh` for short)")
    parser.add_argument("--metrics", metavar="METRIC,...", help=f"of {', '.join(METRICS)}")
    parser.add_argument("--json", metavar="FILE", help="writes all samples there")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target is missed")
    options = parser.parse_args()
    options.culvert = pathlib.Path(options.culvert or f"{options.build}/culvert").resolve()
    names = (options.only or ",".join(CONTENDERS)).replace("ssh -L", "ssh").split(",")
    options.names = ["ssh -L" if name == "ssh" else name for name in names]
    options.metrics = (options.metrics or ",".join(METRICS)).split(",")
    for name in options.names:
        if name not in CONTENDERS:
            parser.error(f"no contender is called {name}")
    for metric in options.metrics:
        if metric not in METRICS:
            parser.error(f"no metric is called {metric}")
    return options


def say(text):
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def measure_contender(contender, measurements, metrics, samples, failures):
    """One round of one contender. What fails is told and left out of the tables."""
    try:
        contender.start()
    except Failed as error:
        failures.append(f"{contender.name}: {error}")
        contender.stop()
        return
    try:
        for metric in metrics:
            say(f"{contender.name}: {metric}")
            try:
                for row, value in getattr(measurements, metric)(contender).items():
                    samples[contender.name][row].append(value)
            except Failed as error:
                failures.append(f"{contender.name}, {metric}: {error}")
    finally:
        contender.stop()


def measure(options, folder):
    tools = pathlib.Path(options.build).resolve() / "bench"
    limit = raise_descriptor_limit()
    measurements = Measurements(folder, tools, options.seconds, limit)
    samples = {name: collections.defaultdict(list) for name in options.names}
    failures = []
    # Memory first, while the processes are fresh.
    metrics = sorted(options.metrics, key=lambda metric: (metric != "memory",
                                                          METRICS.index(metric)))
    skipped = set()
    for number in range(options.rounds):
        say(f"round {number + 1} of {options.rounds}")
        for name in options.names:
            services = Services(folder, tools)
            contender = CONTENDERS[name](folder, services, tools, options.culvert)
            missing = contender.missing()
            if missing:
                skipped.add(f"{name}: left out, {missing} is not there")
                continue
            try:
                services.start()
                measure_contender(contender, measurements, metrics, samples, failures)
            finally:
                services.stop()
    present = {name: rows for name, rows in samples.items() if rows}
    return present, sorted(skipped) + sorted(measurements.notes), failures


def main():
    options = parse_options()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="culvert-bench-"))
    try:
        samples, notes, failures = measure(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    middle = report.medians(samples)
    print(f"\n{os.cpu_count()} cores, {options.rounds} rounds, {options.seconds} s each\n")
    print(report.table_of_medians(middle))
    if "limit" in middle:
        print("\n" + report.table_of_ratios(middle))
    missed = 0
    if any(name in middle for name in report.CULVERTS):
        text, met, missed = report.table_of_targets(middle)
        print(f"\n{text}\n\n{met} targets met, {missed} missed")
    if "ws" in middle and "0.1" in middle:
        text, met, more = report.table_of_dialects(middle)
        missed += more
        print(f"\n{text}\n\n{met} targets met, {more} missed")
    for line in notes + [f"FAILED: {failure}" for failure in failures]:
        print(line)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(
            {"cores": os.cpu_count(), "rounds": options.rounds, "seconds": options.seconds,
             "samples": samples, "medians": middle, "notes": notes, "failures": failures},
            indent=1, ensure_ascii=False) + "\n")
    return 1 if failures or (options.strict and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
