"""Breaks the program in one place at a time and prints which changes no test noticed.

The changes come from a list (--list FILE) or are made by rule, at places drawn by chance (--seed).
Each is built in a copy of the tree under build-mutate and tested with the tests of its room: its
unit tests, the simulation, and the end-to-end tests that ROOM_TESTS names. A change that does not
compile is left out; one that makes a test hang is noticed.

A list has one block for each change, separated by empty lines: the file, the lines to be replaced
(each begins with `- `), the lines in their place (`+ `), and, if that is quicker, what to run
instead of all tests of the room (`? unit NAME...` or `? pytest ARGUMENT...`). `#` begins a comment.
"""

import argparse
import collections
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PLACE = ROOT / "build-mutate"
SOURCE, BUILD = PLACE / "source", PLACE / "build"
UNIT_SECONDS, END_TO_END_SECONDS = 400, 1800

# The end-to-end tests of a room, as pytest takes them. A room that is not named here has none.
ROOM_TESTS = {
    "agent": ["gateways", "ladder", "agent_api", "reconnect", "resume", "hostile_gateway", "poll",
              "proxy", "ports", "whitelist", "shutdown", "cli"],
    "api": ["agent_api", "api_hostile", "forward_command"],
    "cli": ["cli", "docs", "forward_command", "acl", "keys"],
    "ends": ["semantics", "shutdown", "hostile"],
    "gateway": ["resume_gateway", "poll_gateway", "express", "names", "keys", "admission", "hostile",
                "hostile_messages", "asking", "acl_gateway", "events", "lua", "gateways", "front",
                "shutdown", "semantics"],
    "journal": ["events"],
    "library": ["library"],
    "lua": ["lua", "lua_modules"],
    "mux": ["hostile_messages", "semantics"],
    "net": ["tls", "proxy", "poll", "ports"],
    "policy": ["acl", "acl_gateway", "whitelist"],
    "store": ["keys"],
    "tunnel": ["resume", "resume_gateway", "express", "hostile_messages", "poll_gateway"],
}
SIMULATED = ("link", "mux", "tunnel")

Change = collections.namedtuple("Change", "path start end new tests")


# ---- the changes ----

# What a rule replaces, and what stands in its place. Each match is one place.
RULES = [
    (r"(?<=[\w)\]] )<(?= [\w(-])", "<="), (r"(?<=[\w)\]] )<=(?= [\w(-])", "<"),
    (r"(?<=[\w)\]] )>(?= [\w(-])", ">="), (r"(?<=[\w)\]] )>=(?= [\w(-])", ">"),
    (r"(?<=[\w)\]] )==(?= )", "!="), (r"(?<=[\w)\]] )!=(?= )", "=="),
    (r"(?<= )&&(?= )", "||"), (r"(?<= )\|\|(?= )", "&&"),
    (r"(?<=[\w)\]] )\+(?= [\w(])", "-"), (r"(?<=[\w)\]] )-(?= [\w(])", "+"),
    (r"(?<=\bif \()(?=[\w>.-]+\))", "!"), (r"(?<=[(& |])!(?=\w)", ""),
    (r"\btrue\b", "false"), (r"\bfalse\b", "true"),
    (r"(?<=return )CULVERT_ERROR_\w+(?=;)", "0"),
    # A statement that calls or assigns is left out.
    (r"(?<=\n)[ ]{4,}(?!return|goto|case|struct|const|static|char|int|bool|size_t|uint|break)"
     r"[a-z][\w>.\[\]-]*(?:\([^;{}]*\)| (?:[-+|&]?=) [^;{}]*|\+\+|--);(?=\n)", ";"),
]


def without_comments(text):
    """The text with comments, strings and preprocessor lines blanked, of the same length."""
    pattern = r"/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])'|^[ ]*#[^\n]*"
    return re.sub(pattern, lambda match: re.sub(r"[^\n]", "\0", match[0]), text,
                  flags=re.S | re.M)


def sources_of(room):
    return sorted(path for path in (ROOT / "src" / room).glob("*.c")
                  if not path.stem.endswith(("_test", "_fuzz", "_fixture"))
                  and not path.stem.startswith("test_"))


def changes_by_rule(room):
    """Every change that the rules allow in a room."""
    for path in sources_of(room):
        text = path.read_text("utf-8")
        plain = without_comments(text)
        for pattern, new in RULES:
            for match in re.finditer(pattern, plain):
                yield Change(path.relative_to(ROOT), match.start(), match.end(), new, None)


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
    line = text.count("\n", 0, change.start) + 1
    first, last = text.rfind("\n", 0, change.start) + 1, text.find("\n", change.end)
    old = " ".join(text[first:last].split())
    new = " ".join((text[first:change.start] + change.new + text[change.end:last]).split())
    return f"{change.path}:{line}: {old} -> {new or '(nothing)'}"


# ---- building and testing ----

def run(command, seconds, environment=None):
    """Whether it ended well in time. Otherwise it and all that it started are ended."""
    process = subprocess.Popen([str(word) for word in command], cwd=SOURCE, env=environment,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False


def copy_tree():
    """Copies what differs, so that only that is built again."""
    names = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"],
                           cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    for name in names:
        here, there = ROOT / name, SOURCE / name
        if here.is_file() and not (there.is_file() and there.read_bytes() == here.read_bytes()):
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(here, there)


def build():
    return run(["ninja", "-C", BUILD, "--quiet", "all", "tests/wan/wan_line"], 900)


def unit_tests_of(room):
    text = (ROOT / "src" / room / "meson.build").read_text("utf-8")
    return re.findall(r"'(\w+_test)':", text)


def pass_units(names):
    return not names or run(["meson", "test", "-C", BUILD, "--no-rebuild", "--quiet", "--maxfail",
                             "1", *names], UNIT_SECONDS)


def pass_end_to_end(words):
    environment = {**os.environ, "CULVERT": str(BUILD / "culvert")}
    return run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n",
                str((os.cpu_count() or 1) + 1), "--dist", "loadfile", *words], END_TO_END_SECONDS,
               environment)


def pass_room(room, only):
    """Whether all tests of the room pass; the quick ones first."""
    names = unit_tests_of(room)
    if room in SIMULATED:
        names += ["link_mux_sim", "tunnel_sim", "poll_sim"]
    if only != "e2e" and not pass_units(names):
        return False
    files = [f"tests/e2e/test_{name}.py" for name in ROOM_TESTS.get(room, [])]
    return only == "unit" or not files or pass_end_to_end(files)


def pass_tests(change, only):
    """Whether the tests pass that are to notice this change."""
    if not change.tests:
        return pass_room(change.path.parts[1], only)
    kind, *words = change.tests
    return (pass_units if kind == "unit" else pass_end_to_end)(words)


def is_noticed(change, only):
    """Whether a test fails because of the change; None if it does not compile."""
    path = SOURCE / change.path
    text = path.read_text("utf-8")
    path.write_text(text[:change.start] + change.new + text[change.end:], "utf-8")
    try:
        if not build():
            return None
        return not pass_tests(change, only)
    finally:
        path.write_text(text, "utf-8")


# ---- the run ----

def chosen(options):
    if options.list:
        changes = list(changes_in_list(options.list))
        return [change for change in changes
                if not options.room or change.path.parts[1] in options.room]
    choices = random.Random(options.seed)
    changes = []
    rooms = sorted(path.parent.name for path in (ROOT / "src").glob("*/meson.build"))
    for room in options.room or rooms:
        every = list(changes_by_rule(room))
        changes += choices.sample(every, min(options.count, len(every)))
    return changes


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", action="append", help="only this folder of src; repeatable")
    parser.add_argument("--list", help="the changes; without it they are made by rule")
    parser.add_argument("--count", type=int, default=10, help="of each room, by rule (default: 10)")
    parser.add_argument("--seed", type=int, default=1, help="where, by rule (default: 1)")
    parser.add_argument("--only", choices=("unit", "e2e"), help="one kind of tests")
    options = parser.parse_args()
    changes = chosen(options)
    copy_tree()
    if not (BUILD / "build.ninja").is_file():
        run(["meson", "setup", "-Dwerror=false", BUILD], 300)
    if not build():
        sys.exit(f"the unchanged tree does not build; see: ninja -C {BUILD}")
    counts = collections.defaultdict(collections.Counter)
    tried = set()
    for number, change in enumerate(changes, 1):
        tests = tuple(change.tests or (change.path.parts[1],))
        if tests not in tried and not (build() and pass_tests(change, options.only)):
            sys.exit(f"the unchanged program fails these tests: {' '.join(tests)}")
        tried.add(tests)
        noticed = is_noticed(change, options.only)
        verdict = {None: "does not compile", True: "noticed", False: "UNNOTICED"}[noticed]
        print(f"[{number}/{len(changes)}] {verdict}: {described(change)}", flush=True)
        counts[change.path.parts[1]][noticed] += 1
    build()
    for room, count in sorted(counts.items()):
        of = count[True] + count[False]
        print(f"{room}: {count[True]} of {of} noticed" +
              (f" ({100 * count[True] // of} %)" if of else ""))
    return 0 if not any(count[False] for count in counts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
