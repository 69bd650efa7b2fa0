#!/usr/bin/env python3
"""Holds every C file to its ceilings: lines of a file, lines and parameters of a function.

It reads the text as clang-format leaves it: a function's body begins and ends with a brace in
column 0, which nothing else has.
"""

import pathlib
import re
import subprocess
import sys

FILE_LINES = 600
FUNCTION_LINES = 60
PARAMETERS = 7
FUNCTION_NAME = re.compile(r"(\w+)\s*\(")
FOLDERS = ("src", "include", "tests", "bench", "examples")


def signature_before(lines, brace):
    start = brace
    while start > 0 and lines[start - 1].strip() and not lines[start - 1].startswith(
            ("}", "#", "/", " *")):
        start -= 1
    return " ".join(lines[start:brace])


def count_parameters(signature):
    inside = signature[signature.index("(") + 1:signature.rindex(")")]
    depth = 0
    commas = 0
    for character in inside:
        depth += character in "(["
        depth -= character in ")]"
        commas += character == "," and depth == 0
    return 0 if inside.strip() in ("", "void") else commas + 1


def check_file(path, name):
    lines = path.read_text().splitlines()
    if len(lines) > FILE_LINES:
        yield f"{name}: {len(lines)} lines, the ceiling is {FILE_LINES}"
    opened = None
    for number, line in enumerate(lines):
        if line == "{":
            opened = number
        elif line == "}" and opened is not None:
            signature = signature_before(lines, opened)
            match = FUNCTION_NAME.search(signature)
            function = match.group(1) if match else "?"
            length = number - opened + 1
            if length > FUNCTION_LINES:
                yield (f"{name}:{opened + 1}: {function} has {length} lines, "
                       f"the ceiling is {FUNCTION_LINES}")
            if match and count_parameters(signature) > PARAMETERS:
                yield f"{name}:{opened + 1}: {function} has more than {PARAMETERS} parameters"
            opened = None


def check_words(root):
    """A marker of unfinished work names the issue that will finish it."""
    marker = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!\s*\(?#\d+)")
    listed = subprocess.run(["git", "ls-files", "-z", *FOLDERS, "scripts", "docs", "*.md", "Makefile"], cwd=root, capture_output=True, check=False)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if name == "scripts/check_ceilings.py" or "/corpus/" in name:
            continue
        try:
            text = (root / name).read_text()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            match = marker.search(line)
            if match:
                yield f"{name}:{number}: {match.group(1)} without an issue's number"


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    failures = list(check_words(root))
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.[ch]")):
            failures += check_file(path, path.relative_to(root))
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
