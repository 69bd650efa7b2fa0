"""Breaks the program in one place at a time and prints which changes no test noticed.

The changes come from a list (--list FILE) or are made by rule, at places drawn by chance (--seed).
Each is built in a copy of the tree under build-mutate and tested with the tests of its room, the
quick ones first: the unit tests and the simulation, the same under AddressSanitizer, then the
end-to-end tests that END_TO_END names. A change that does not compile, or that leaves the machine
code as it was, is not counted. One that makes a test hang is noticed.

A list has one block for each change, separated by empty lines: the file, the lines to be replaced
(each begins with `- `), the lines in their place (`+ `), and, if that is quicker, what to run
instead of all tests of the room (`? unit NAME...` or `? pytest ARGUMENT...`). `#` begins a comment.
"""

import argparse
import collections
import concurrent.futures
import functools
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PLACE = ROOT / "build-mutate"
SOURCE, BUILD, SANITIZED = PLACE / "source", PLACE / "build", PLACE / "sanitized"
UNIT_SECONDS, END_TO_END_SECONDS = 30, 1800
SIMULATED_SEEDS = 150
JOBS = (os.cpu_count() or 1) + 1

# The end-to-end tests of a room, and of one of its files, which run before the others.
END_TO_END = {
    "agent": ["gateways", "ladder", "agent_api", "reconnect", "resume", "hostile_gateway", "poll",
              "proxy", "ports", "whitelist", "shutdown", "failover", "dialling", "loops",
              "reread_files", "cli"],
    "api": ["agent_api", "api_hostile", "forward_command"],
    "carrier": ["resume", "express", "poll_gateway", "poll"],
    "cli": ["cli", "docs"],
    "cli/acl_command": ["acl"],
    "cli/api_client": ["forward_command"],
    "cli/forward_command": ["forward_command"],
    "cli/gateway_command": ["lua", "events"],
    "cli/hubble_command": ["tests/interop/test_interop_commands.py"],
    "cli/key_command": ["keys"],
    "cli/lua_worker_command": ["lua"],
    "cli/main": ["tests/interop/test_interop_commands.py"],
    "ends": ["semantics", "reset_order", "shutdown", "hostile"],
    "gateway": ["resume_gateway", "poll_gateway", "express", "names", "keys", "admission",
                "hostile", "hostile_messages", "hostile_logins", "hostile_policy", "asking",
                "acl_gateway", "events", "lua", "gateways", "front", "health", "loops", "memory",
                "control_flood", "failover", "shutdown", "semantics"],
    "gateway/acl_file": ["acl_gateway", "acl"],
    "gateway/admission": ["admission", "hostile"],
    "gateway/asking": ["asking", "hostile_policy", "control_flood", "resume_gateway"],
    "gateway/authorizer": ["asking", "lua", "acl_gateway"],
    "gateway/chains": ["loops"],
    "gateway/crossing": ["gateways", "reset_order"],
    "gateway/front": ["front", "health"],
    "gateway/gateway": ["cli", "keys"],
    "gateway/login_hubble": ["tests/interop"],
    "gateway/login": ["names", "keys", "hostile_logins", "failover"],
    "gateway/member": ["names", "resume_gateway", "failover"],
    "gateway/payer": ["memory"],
    "gateway/poll": ["poll_gateway", "poll"],
    "gateway/pressure": ["memory"],
    "gateway/probe": ["names"],
    "gateway/refusal_budget": ["hostile_policy"],
    "gateway/resume": ["resume_gateway"],
    "gateway/session": ["resume_gateway", "events"],
    "gateway/shutdown": ["shutdown"],
    "gateway/strangers": ["hostile_logins", "hostile"],
    "http": ["agent_api", "api_hostile", "front", "health"],
    "journal": ["events"],
    "library": ["library"],
    "lua": ["lua", "lua_modules"],
    "mux": ["hostile_messages", "control_flood", "semantics"],
    "mux/hubble": ["tests/interop"],
    "net": ["tls", "proxy", "poll", "ports"],
    "policy": ["acl", "acl_gateway", "whitelist"],
    "store": ["keys"],
    "tunnel": ["resume", "resume_gateway", "express", "hostile_messages"],
    "tunnel/hubble": ["tests/interop"],
}
# Unit tests of other rooms that exercise a room, and the simulations.
UNIT_TESTS = {
    "base": ["inbound_test", "mux_test", "hold_test", "link_test"],
    "ends": ["crossing_test"],
    "http": ["api_server_test", "visitor_test"],
    "relay": ["tcp_relay_test", "crossing_test", "hubble_mux_relay_test"],
    "tunnel": ["tests/sim/hubble_tunnel_test"],
}
SIMULATIONS = {
    "carrier": ["tests/sim/tunnel_sim", "tests/sim/poll_sim"],
    "link": ["tests/sim/link_mux_sim", "tests/sim/tunnel_sim"],
    "mux": ["tests/sim/link_mux_sim", "tests/sim/tunnel_sim"],
    "relay": ["tests/sim/link_mux_sim", "tests/sim/tunnel_sim"],
    "tunnel": ["tests/sim/tunnel_sim"],
}

# Unit tests that start the program begin with these words.
STARTING_CULVERT = ("lua_", "library_", "agent_events")

# Seconds after which a test hangs: some take longer than others.
limits = collections.defaultdict(lambda: 2 * UNIT_SECONDS)

Change = collections.namedtuple("Change", "path start end new tests")


# ---- the changes ----

# What a rule replaces, and what stands in its place. Each match is one place.
STATEMENT = r"(?<=\n)[ ]{4,}"
RULES = [
    (r"(?<=[\w)\]] )<(?= [\w(-])", "<="), (r"(?<=[\w)\]] )<=(?= [\w(-])", "<"),
    (r"(?<=[\w)\]] )>(?= [\w(-])", ">="), (r"(?<=[\w)\]] )>=(?= [\w(-])", ">"),
    (r"(?<=[\w)\]] )==(?= )", "!="), (r"(?<=[\w)\]] )!=(?= )", "=="),
    (r"(?<= )&&(?= )", "||"), (r"(?<= )\|\|(?= )", "&&"),
    (r"(?<=[\w)\]] )\+(?= [\w(])", "-"), (r"(?<=[\w)\]] )-(?= [\w(])", "+"),
    (r"(?<=[(& |])!(?=\w)", ""),
    (r"\btrue\b", "false"), (r"\bfalse\b", "true"),
    # A bound is one more: a number, or a name in capitals that something is compared with.
    (r"(?<=[<>=] )(?P<bound>(?!NULL\b)[A-Z][A-Z0-9_]{2,}|[1-9][0-9]*)(?=\)| &&| \|\||;)",
     "(\\g<bound> + 1)"),
    # A condition is negated.
    (r"\bif \((?P<condition>(?:[^(){};]|\((?:[^(){};]|\([^(){};]*\))*\))+)\)(?=[ \n])",
     "if (!(\\g<condition>))"),
    # Another value is returned.
    (r"(?<=return )CULVERT_ERROR_\w+(?=;)", "0"), (r"(?<=return )-1(?=;)", "0"),
    (r"(?<=return )0(?=;)", "1"), (r"(?<=return )NULL(?=;)", "(void *)1"),
    # A call, an assignment, or a return is left out. No test can see whether a secret was wiped,
    # so that call stays.
    (STATEMENT + r"(?!return|goto|case|struct|const|static|char|int|bool|size_t|uint|break|continue"
     r"|assert|log_|explicit_bzero)"
     r"[a-z][\w>.\[\]-]*(?:\([^;{}]*\)| (?:[-+|&]?=) [^;{}]*|\+\+|--);(?=\n)", ";"),
    (STATEMENT + r"(?:\+\+|--)[a-z][\w>.\[\]-]*;(?=\n)", ";"),
    (STATEMENT + r"(?:return|break|continue);(?=\n)", ";"),
]


def without_comments(text):
    """The text with comments, strings and preprocessor lines blanked, of the same length."""
    pattern = r"/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])'|^[ ]*#[^\n]*"
    return re.sub(pattern, lambda match: re.sub(r"[^\n]", "\0", match[0]), text,
                  flags=re.S | re.M)


def sources_of(room):
    """The C files of a room, or the one file `room/name.c`."""
    place = ROOT / "src" / room
    return sorted(path for path in ([place] if place.is_file() else place.glob("*.c"))
                  if not path.stem.endswith(("_test", "_fuzz", "_fixture", "_fake"))
                  and not path.stem.startswith(("test_", "api_test_")))


def changes_by_rule(room):
    """Every change that the rules allow in a room or a file."""
    for path in sources_of(room):
        text = path.read_text("utf-8")
        plain = without_comments(text)
        for pattern, new in RULES:
            for match in re.finditer(pattern, plain):
                # What is kept of the match is taken from the text, with its strings.
                whole = re.compile(pattern).match(text, match.start()) or match
                yield Change(path.relative_to(ROOT), match.start(), match.end(), whole.expand(new),
                             None)


def changes_in_list(path):
    """The changes of a list. One whose old text is not in its file exactly once is out of date."""
    lines = [line for line in pathlib.Path(path).read_text("utf-8").splitlines()
             if not line.startswith("#")]
    for block in "\n".join(lines).split("\n\n"):
        rows = [line for line in block.splitlines() if line]
        if not rows:
            continue
        name = pathlib.Path(rows[0])
        old, new, tests = ("\n".join(row[2:] for row in rows if row.startswith(sign))
                           for sign in "-+?")
        text = (ROOT / name).read_text("utf-8")
        if not old or text.count(old) != 1:
            print(f"out of date: {name} has this text {text.count(old)} times: {old}")
            continue
        start = text.index(old)
        yield Change(name, start, start + len(old), new, shlex.split(tests) or None)


def described(change):
    """`file:line: old -> new`, on one line."""
    text = (ROOT / change.path).read_text("utf-8")
    start = change.start + len(text[change.start:change.end]) - \
        len(text[change.start:change.end].lstrip())
    line = text.count("\n", 0, start) + 1
    first, last = text.rfind("\n", 0, start) + 1, text.find("\n", change.end)
    old = " ".join(text[first:last].split())
    new = " ".join((text[first:max(first, change.start)] + change.new +
                    text[change.end:last]).split())
    return f"{change.path}:{line}: {old} -> {new or '(nothing)'}"


# ---- building ----

def run(command, seconds, environment=None):
    """(whether it ended well in time, its output). After that time it and its children are killed."""
    process = subprocess.Popen([str(word) for word in command], cwd=SOURCE, env=environment,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace",
                               start_new_session=True)
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode == 0, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False, "it did not end in time"


def copy_tree():
    """Copies what differs, so that only that is built again."""
    names = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                           cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    for name in names:
        here, there = ROOT / name, SOURCE / name
        if here.is_file() and not (there.is_file() and there.read_bytes() == here.read_bytes()):
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(here, there)


def set_up(folder, *options):
    if not (folder / "build.ninja").is_file():
        run(["meson", "setup", "-Dwerror=false", "-Ddebug=false", *options, folder], 300)


def build(folder, targets):
    return run(["ninja", "-C", folder, "--quiet", *targets], 900)[0]


def object_of(path):
    """The object file of a source, relative to the build folder."""
    commands = json.loads((BUILD / "compile_commands.json").read_text("utf-8"))
    for command in commands:
        if (BUILD / command["file"]).resolve() == SOURCE / path:
            return command["output"]
    sys.exit(f"{path} is not built")


# ---- testing ----

def room_of(path):
    return path.parts[1]


def unit_tests_of(path):
    """The unit tests of a file's room. Those that are named like the file come first."""
    text = (SOURCE / "src" / room_of(path) / "meson.build").read_text("utf-8")
    names = re.findall(r"'(\w+_test)':", text) + UNIT_TESTS.get(room_of(path), [])

    def is_named_like_the_file(name):
        last = name.rpartition("/")[2]
        return last.startswith(path.stem) or path.stem.startswith(last.removesuffix("_test"))

    return sorted(names, key=lambda name: not is_named_like_the_file(name))


def end_to_end_of(path):
    """The end-to-end tests of a file, the most specific first, as pytest takes them."""
    name = str(path.with_suffix("")).removeprefix("src/")
    files = []
    for key in sorted(END_TO_END, key=len, reverse=True):
        if name.startswith(key) and (key == room_of(path) or "/" in key):
            files += [file for file in END_TO_END[key] if file not in files]
    return [file if "/" in file else f"tests/e2e/test_{file}.py" for file in files]


@functools.lru_cache(maxsize=None)
def symbols_of(file):
    """The names that an object or a program defines."""
    done = subprocess.run(["nm", "--defined-only", "--format=just-symbols", file], check=False,
                          capture_output=True, text=True)
    return set(done.stdout.split())


def contain(names, path):
    """Those of the tests that contain an object of the file."""
    own = subprocess.run(["nm", "--defined-only", "--extern-only", "--format=just-symbols",
                          BUILD / object_of(path)], check=True, capture_output=True,
                         text=True).stdout.split()
    missing = [name for name in names if not (BUILD / name).is_file()]
    if missing and not build(BUILD, missing):
        sys.exit(f"cannot build {' '.join(missing)} in {BUILD}")
    return [name for name in names if not symbols_of(BUILD / name).isdisjoint(own)]


def run_units(folder, names, simulations=()):
    """Whether these tests, which are built, pass."""
    environment = {**os.environ, "CULVERT": str(BUILD / "culvert")}
    commands = [[folder / name] for name in names]
    commands += [[folder / name, "1", str(SIMULATED_SEEDS)] for name in simulations]
    with concurrent.futures.ThreadPoolExecutor(JOBS) as threads:
        runs = [threads.submit(run, command, limits[command[0].name], environment)
                for command in commands]
        for done in concurrent.futures.as_completed(runs):
            if not done.result()[0]:
                for other in runs:
                    other.cancel()
                return False
    return True


def pass_units(folder, names, simulations=()):
    programs = [*names, *simulations]
    if folder == BUILD and any(name.startswith(STARTING_CULVERT) for name in names):
        programs.append("culvert")
    if not build(folder, programs):
        sys.exit(f"cannot build {' '.join(programs)} in {folder}")
    return run_units(folder, names, simulations)


def run_pytest(binary, words):
    return run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n",
                str(JOBS), "--dist", "loadfile", *words], END_TO_END_SECONDS,
               {**os.environ, "CULVERT": str(binary)})


def pass_end_to_end(words):
    """Whether the tests pass. One that fails with the unchanged program too is left out."""
    left_out = []
    for _ in range(3):
        passed, output = run_pytest(BUILD / "culvert", [*words, *left_out])
        failed = re.findall(r"^(?:FAILED|ERROR) (tests/\S+)", output, re.M)
        if passed or not failed:
            return passed
        if run_pytest(PLACE / "unchanged", failed)[0]:
            return False
        left_out += [f"--deselect={name}" for name in failed]
    return True


def pass_room(path, only):
    """Whether all tests of the file's room pass; the quick ones first."""
    names = contain(unit_tests_of(path), path)
    simulations = contain(SIMULATIONS.get(room_of(path), ()), path)
    if only != "e2e" and not (pass_units(BUILD, names) and
                              pass_units(BUILD, [], simulations) and
                              pass_units(SANITIZED, names)):
        return False
    files = end_to_end_of(path)
    return only == "unit" or not files or (build(BUILD, ["culvert"]) and pass_end_to_end(files))


def pass_tests(change, only):
    """Whether the tests pass that are to notice this change."""
    if not change.tests:
        return pass_room(change.path, only)
    kind, *words = change.tests
    if kind == "unit":
        return pass_units(BUILD, words)
    return build(BUILD, ["culvert", "tests/wan/wan_line"]) and pass_end_to_end(words)


def verdict_of(change, only):
    """`noticed`, `UNNOTICED`, or why the change does not count."""
    path, target = SOURCE / change.path, object_of(change.path)
    build(BUILD, [target])
    before, text = (BUILD / target).read_bytes(), path.read_text("utf-8")
    path.write_text(text[:change.start] + change.new + text[change.end:], "utf-8")
    try:
        if not build(BUILD, [target]):
            return "does not compile"
        if (BUILD / target).read_bytes() == before:
            return "same code"
        return "UNNOTICED" if pass_tests(change, only) else "noticed"
    finally:
        path.write_text(text, "utf-8")


# ---- the run ----

def samples(options):
    """Lists of (changes in the order in which they are tried, how many of them shall count)."""
    if options.list:
        changes = [change for change in changes_in_list(options.list)
                   if not options.room or room_of(change.path) in options.room]
        yield changes, len(changes)
        return
    rooms = sorted(path.parent.name for path in (ROOT / "src").glob("*/meson.build"))
    for room in options.room or rooms:
        changes = list(changes_by_rule(room))
        random.Random(options.seed).shuffle(changes)
        yield changes, options.count


def check_unchanged(options):
    """Ends the program if it does not build, or fails its unit tests, without a change."""
    set_up(BUILD)
    set_up(SANITIZED, "-Doptimization=1", "-Db_lundef=false", "-Db_sanitize=address,undefined")
    if not build(BUILD, ["culvert", "tests/wan/wan_line"]):
        sys.exit(f"the unchanged tree does not build; see: ninja -C {BUILD}")
    shutil.copy(BUILD / "culvert", PLACE / "unchanged")
    if options.list or options.only == "e2e":
        return
    for room in options.room or []:
        path = sources_of(room)[0].relative_to(ROOT)
        for folder in (BUILD, SANITIZED):
            for name in unit_tests_of(path):
                limits[pathlib.Path(name).name] = 300
                begun = time.monotonic()
                if not build(folder, [name]) or not run_units(folder, [name]):
                    sys.exit(f"the unchanged program fails {folder / name}")
                limits[pathlib.Path(name).name] = max(UNIT_SECONDS,
                                                      4 * (time.monotonic() - begun))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", action="append",
                        help="only this folder of src, or this file (gateway/login.c); repeatable")
    parser.add_argument("--list", help="the changes; without it they are made by rule")
    parser.add_argument("--count", type=int, default=10,
                        help="changes that count, of each room, by rule (default: 10)")
    parser.add_argument("--seed", type=int, default=1, help="where, by rule (default: 1)")
    parser.add_argument("--only", choices=("unit", "e2e"), help="one kind of tests")
    options = parser.parse_args()
    copy_tree()
    check_unchanged(options)
    counts = collections.defaultdict(collections.Counter)
    unnoticed = []
    for changes, wanted in samples(options):
        counted = 0
        for change in changes:
            if counted == wanted:
                break
            begun = time.monotonic()
            verdict = verdict_of(change, options.only)
            counted += verdict in ("noticed", "UNNOTICED")
            counts[room_of(change.path)][verdict] += 1
            if verdict == "UNNOTICED":
                unnoticed.append(change)
            print(f"[{counted}/{wanted}] {verdict} ({time.monotonic() - begun:.0f} s): "
                  f"{described(change)}", flush=True)
    for change in unnoticed:
        print(f"unnoticed: {described(change)}")
    for room, count in sorted(counts.items()):
        of = count["noticed"] + count["UNNOTICED"]
        print(f"{room}: {count['noticed']} of {of} noticed" +
              (f" ({100 * count['noticed'] // of} %)" if of else ""))
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
