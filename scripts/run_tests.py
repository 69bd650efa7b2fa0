#!/usr/bin/env python3
"""Builds, runs the unit, simulated and end-to-end tests and the Python client's, and counts them.

The line before the last is `N skipped: why`, the last one `N passed, N failed`; the exit code is 0
only if none failed and some ran.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

from count_skips import Skips

NONE_CHOSEN = 5  # pytest's code where the options leave no test
ROOT = pathlib.Path(__file__).resolve().parent.parent


def build(folder):
    if not (folder / "build.ninja").is_file():
        done = subprocess.run(["meson", "setup", str(folder)], cwd=ROOT,
                              stdout=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            return False
    return subprocess.run(["ninja", "-C", str(folder), "--quiet", "all", "tests/wan/wan_line"],
                          check=False).returncode == 0


def run_units(folder, environment, skips):
    """The tests that Meson knows, each a program: (passed, failed)."""
    subprocess.run(["meson", "test", "-C", str(folder), "--no-rebuild", "--print-errorlogs"],
                   env=environment, check=False)
    passed = failed = 0
    log = folder / "meson-logs" / "testlog.json"
    for line in log.read_text().splitlines() if log.is_file() else []:
        result = json.loads(line)["result"]
        passed += result in ("OK", "EXPECTEDFAIL")
        failed += result not in ("OK", "EXPECTEDFAIL", "SKIP")
        if result == "SKIP":
            skips.add(f"{json.loads(line)['name']} skips itself")
    return passed, failed


def marks(options):
    """pytest's expression for the tests to run: not those marked `long`, which scripts/test_long.py
    runs. Under a sanitizer those marked `once` are left out: it would add nothing to them."""
    wanted = [options.mark] if options.mark else []
    return " and ".join([*wanted, "not long", *(["not once"] if options.sanitizer else [])])


def run_end_to_end(folder, environment, options, skips):
    """pytest with the binary of this build: (passed, failed). Most tests wait more than they work,
    so more of them run side by side than there are cores; those of the wide-area line measure, and
    run alone."""
    words = ["--durations=10", "-m", marks(options), *options.pytest]
    together = ["-n", str((os.cpu_count() or 1) + 1), "--dist", "loadfile"]
    ends = run_pytest(folder / "end-to-end.xml",
                      ["tests/e2e", "tests/interop", *together, *words], environment, skips)
    lines = run_pytest(folder / "wide-area.xml", ["tests/wan", *words], environment, skips)
    return ends[0] + lines[0], ends[1] + lines[1]


def run_python_client(folder, environment, skips):
    """The tests of clients/python, which need no binary. Apart from the others, whose package of
    helpers has the same name: (passed, failed)."""
    return run_pytest(folder / "python-client.xml", ["clients/python/tests"], environment,
                      skips)


def run_pytest(report, words, environment, skips):
    """One run of pytest: (passed, failed). What it skips is added to `skips`."""
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
               f"--junitxml={report}", "-o", "junit_logging=no", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if not report.is_file():
        return 0, 1
    passed = failed = 0
    for suite in ElementTree.parse(report).iter("testsuite"):
        count = {name: int(suite.get(name, "0"))
                 for name in ("tests", "failures", "errors", "skipped")}
        failed += count["failures"] + count["errors"]
        passed += (count["tests"] - count["failures"] - count["errors"] - count["skipped"])
        for skipped in suite.iter("skipped"):
            skips.add(skipped.get("message", "no reason given"))
    # An interrupted run or one that could not collect has failed, whatever it counted.
    if done.returncode not in (0, 1, NONE_CHOSEN) and failed == 0:
        failed = 1
    return max(passed, 0), failed


def sanitizer_environment(sanitizer):
    environment = dict(os.environ)
    if sanitizer == "address":
        environment["ASAN_OPTIONS"] = (
            "detect_leaks=1:abort_on_error=0:exitcode=99:quarantine_size_mb=4")
        environment["UBSAN_OPTIONS"] = "halt_on_error=1:print_stacktrace=1:exitcode=99"
    elif sanitizer == "thread":
        environment["TSAN_OPTIONS"] = "halt_on_error=1:second_deadlock_stack=1:exitcode=99"
    return environment


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build", help="the build folder")
    parser.add_argument("--sanitizer", choices=("address", "thread"))
    parser.add_argument("--mark", help="only end-to-end tests with this mark")
    parser.add_argument("--only", choices=("unit", "e2e"), help="one of the two halves")
    parser.add_argument("--strict", action="store_true",
                        help="count as failed what was skipped and could have run here")
    parser.add_argument("pytest", nargs="*", help="further arguments for pytest, behind --")
    options = parser.parse_args()
    folder = (ROOT / options.build).resolve()
    environment = sanitizer_environment(options.sanitizer)
    environment["CULVERT"] = str(folder / "culvert")
    if options.sanitizer:
        environment["CULVERT_SANITIZER"] = options.sanitizer

    passed = failed = 0
    skips = Skips()
    if not build(folder):
        print("the build failed")
        failed = 1
    else:
        if options.only != "e2e":
            units = run_units(folder, environment, skips)
            passed, failed = passed + units[0], failed + units[1]
            clients = run_python_client(folder, environment, skips)
            passed, failed = passed + clients[0], failed + clients[1]
        if options.only != "unit":
            ends = run_end_to_end(folder, environment, options, skips)
            passed, failed = passed + ends[0], failed + ends[1]
    if options.strict:
        for reason in skips.needless():
            print(f"FAILED: skipped though this machine could have run it: {reason}")
            failed += 1
    print(skips.line())
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
