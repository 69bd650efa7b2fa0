#!/usr/bin/env python3
"""Measures culvert across a wide-area line beside direct connections. How to read it:
bench/README.md."""

import argparse
import collections
import json
import pathlib
import shutil
import sys
import tempfile
import time

from culvert_bench import report
from culvert_bench.processes import Failed
from culvert_bench.wide_area import DIRECTIONS, WAYS, Crossing, EchoServer

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "wan"))

import wide_area  # noqa: E402  (from the folder of the tests)

LEAST_QUEUE = 64 * 1024


def read_numbers(text):
    return [float(word) for word in text.split(",")]


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build", help="the build folder (build)")
    parser.add_argument("--culvert", help="the binary (BUILD/culvert)")
    parser.add_argument("--rtt", type=read_numbers, default=[10, 50, 200], metavar="MS,...",
                        help="round trips (10,50,200)")
    parser.add_argument("--loss", type=read_numbers, default=[0, 0.5], metavar="PERCENT,...",
                        help="packets lost in each direction (0,0.5)")
    parser.add_argument("--rate", type=float, default=100, metavar="MBITS",
                        help="of the line, each way (100)")
    parser.add_argument("--queue", type=float, metavar="KB",
                        help="before the line (what it carries in a round trip)")
    parser.add_argument("--ways", default="ws", metavar="WAY,...",
                        help="beside direct: ws, wss (ws)")
    parser.add_argument("--congestion", metavar="NAME",
                        help="TCP's congestion control, for all (this system's)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds; the median counts (1)")
    parser.add_argument("--seconds", type=int, default=6, help="length of one measurement (6)")
    parser.add_argument("--json", metavar="FILE", help="writes all samples there")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target is missed")
    options = parser.parse_args()
    options.culvert = pathlib.Path(options.culvert or f"{options.build}/culvert").resolve()
    options.names = ["direct", *options.ways.split(",")]
    for name in options.names:
        if name not in WAYS:
            parser.error(f"no way is called {name}")
    return options


def say(text):
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def open_area(options, round_trip, loss):
    rate = options.rate * 1e6
    queue = options.queue * 1000 if options.queue else rate / 8 * round_trip / 1000
    return wide_area.WideArea(
        pathlib.Path(options.build).resolve() / "tests" / "wan" / "wan_line",
        round_trip=round_trip, rate=rate, loss=loss, queue=int(max(queue, LEAST_QUEUE)),
        congestion=options.congestion)


def measure_way(way, crossing, samples, failures):
    try:
        way.start()
        for direction in DIRECTIONS:
            for name in way.measurements:
                say(f"  {way.name}: {name.replace('_', ' ')} {direction}")
                try:
                    for row, value in getattr(crossing, name)(way, direction).items():
                        samples[row].append(value)
                except Failed as error:
                    failures.append(f"{way.name}, {name}, {direction}: {error}")
                    failures += way.complaints()
    except Failed as error:
        failures.append(f"{way.name}: {error}")
    finally:
        way.stop()


def measure_line(options, folder, round_trip, loss):
    """All ways over a line of this kind: way -> row -> samples, and what failed."""
    tools = pathlib.Path(options.build).resolve() / "bench"
    samples = {name: collections.defaultdict(list) for name in options.names}
    failures = []
    for _ in range(options.rounds):
        with open_area(options, round_trip, loss) as area:
            server = EchoServer(folder, area, tools)
            try:
                for name in options.names:
                    way = WAYS[name](folder, area, options.culvert)
                    crossing = Crossing(folder, area, tools, round_trip, options.seconds)
                    measure_way(way, crossing, samples[name], failures)
            finally:
                server.stop()
    return samples, failures


def congestion_of(options):
    if options.congestion:
        return options.congestion
    return pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()


def main():
    options = parse_options()
    reason = wide_area.missing()
    if reason:
        print(f"no wide-area line here: {reason}", file=sys.stderr)
        return 1
    folder = pathlib.Path(tempfile.mkdtemp(prefix="culvert-bench-"))
    results = []
    missed = met = 0
    failed = False
    print(f"{options.rate:g} Mbit/s, {congestion_of(options)}, {options.rounds} rounds, "
          f"{options.seconds} s each")
    try:
        for round_trip in options.rtt:
            for loss in options.loss:
                say(f"round trip {round_trip:g} ms, loss {loss:g} %")
                samples, failures = measure_line(options, folder, round_trip, loss)
                middle = report.medians(samples)
                text, good, bad = report.table_of_wide_area(middle, loss)
                met, missed, failed = met + good, missed + bad, failed or bool(failures)
                print(f"\nround trip {round_trip:g} ms, loss {loss:g} %\n\n{text}")
                for failure in failures:
                    print(f"FAILED: {failure}")
                sys.stdout.flush()
                results.append({"round_trip_ms": round_trip, "loss_percent": loss,
                                "samples": samples, "medians": middle, "failures": failures})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{met} targets met, {missed} missed")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(
            {"rate_mbits": options.rate, "congestion": congestion_of(options),
             "seconds": options.seconds, "lines": results}, indent=1) + "\n")
    return 1 if failed or (options.strict and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
