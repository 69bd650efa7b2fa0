#!/usr/bin/env python3
"""Runs the tests that are long by nature.

They are, in this order: the tests marked `long`; the simulations with many seeds; and each file of
tests that measures time, several times beside busy loops. The last line is `N passed, N failed`; the
exit code is 0 only if none failed and some ran.
"""

import argparse
import contextlib
import os
import pathlib
import re
import subprocess
import sys

from count_skips import Skips
from run_tests import ROOT, build, run_pytest

FOLDERS = ("tests/e2e", "tests/interop", "tests/wan")
# A wide-area line is measured by one test at a time.
LINES = "tests/wan"
# What a test reads that measures time.
CLOCK = re.compile(r"\bmonotonic\(|\bperf_counter\(|\bcpu_seconds\(|\bseconds_of\(|\bround_trips\(")
SIMULATIONS = ("link_mux_sim", "tunnel_sim", "poll_sim")


@contextlib.contextmanager
def busy_loops(count):
    """So many processes that use all the time they get."""
    loops = []
    try:
        for _ in range(count):
            loops.append(subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c",
                                           "while :; do :; done"]))
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def files_that_measure_time():
    """The files of tests with a clock in them."""
    return [str(path.relative_to(ROOT)) for folder in FOLDERS
            for path in sorted(pathlib.Path(ROOT, folder).glob("test_*.py"))
            if CLOCK.search(path.read_text("utf-8"))]


def side_by_side():
    return ["-n", str((os.cpu_count() or 1) + 1), "--dist", "loadfile"]


def run_long(folder, environment):
    """(passed, failed) of the tests marked `long`, one after the other."""
    return run_pytest(folder / "long.xml", [*FOLDERS, "-m", "long"], environment, Skips())


def run_simulations(folder, seeds):
    """(passed, failed) of the simulations."""
    codes = [subprocess.run([folder / "tests" / "sim" / name, "1", str(seeds)], check=False).returncode
             for name in SIMULATIONS]
    return codes.count(0), len(codes) - codes.count(0)


def run_beside_load(folder, environment, options):
    """(passed, failed) of the files that measure time, `rounds` times beside busy loops."""
    files = files_that_measure_time()
    lines = [file for file in files if file.startswith(LINES)]
    runs = ([file for file in files if file not in lines] + side_by_side(), lines)
    passed = failed = 0
    for number in range(options.rounds):
        print(f"=== round {number + 1} of {options.rounds} beside {options.loops} busy loops: "
              f"{len(files)} files", flush=True)
        with busy_loops(options.loops):
            for words in runs:
                done = run_pytest(folder / "beside-load.xml", [*words, "-m", "not long"],
                                  environment, Skips())
                passed, failed = passed + done[0], failed + done[1]
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build", help="the build folder")
    parser.add_argument("--seeds", type=int, default=100_000, help="seeds of each simulation")
    parser.add_argument("--rounds", type=int, default=10, help="how often beside busy loops")
    parser.add_argument("--loops", type=int, default=4, help="how many busy loops")
    parser.add_argument("--only", choices=("long", "simulations", "load"), help="one of the parts")
    options = parser.parse_args()
    folder = (ROOT / options.build).resolve()
    environment = {**os.environ, "CULVERT": str(folder / "culvert")}
    parts = {
        "long": lambda: run_long(folder, environment),
        "simulations": lambda: run_simulations(folder, options.seeds),
        "load": lambda: run_beside_load(folder, environment, options),
    }
    if not build(folder):
        print("the build failed")
        return 1
    results = [run() for name, run in parts.items() if options.only in (None, name)]
    passed, failed = (sum(result[i] for result in results) for i in range(2))
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
