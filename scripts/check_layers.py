#!/usr/bin/env python3
"""Holds every #include under src/ to src/LAYERS, and the pure rooms to pure headers."""

import pathlib
import re
import sys

PURE = {"base", "codec", "relay", "link", "mux", "policy"}
IMPURE_HEADERS = re.compile(
    r"^(uv\.h|openssl/.*|sqlite3\.h|poll\.h|sys/epoll\.h|netinet/.*|arpa/.*|netdb\.h)$")
# Time and randomness come in as arguments; the logger stamps its entries.
CLOCK = {"time.h", "sys/time.h", "sys/random.h"}
CLOCK_MAY = {"base/log.c", "base/log_stranger.c"}
# Standard output may be a socket, or a pipe that must not be waited for.
OUTPUT_MAY = {"base/output.c"}
SOCKET_TYPES_MAY = {"policy"}
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def read_layers(path):
    allowed = {}
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            room, _, others = line.partition(":")
            allowed[room.strip()] = set(others.split()) | {room.strip()}
    return allowed


def check_includes(source, relative, room, allowed, known):
    for number, line in enumerate(source.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        kind, name = match.groups()
        place = f"src/{relative}:{number}"
        if kind == '"':
            target = name.split("/")[0]
            if "/" not in name or target not in known:
                yield f'{place}: "{name}" is not written "folder/file.h" from src/'
            elif target not in allowed:
                yield f'{place}: {room}/ may not include {target}/ (src/LAYERS)'
            elif not (source.parents[len(relative.parts) - 1] / name).is_file():
                yield f'{place}: "{name}" does not exist'
        elif room in PURE:
            is_types = name in ("netinet/in.h", "arpa/inet.h") and room in SOCKET_TYPES_MAY
            is_output = name in ("poll.h", "sys/socket.h") and str(relative) in OUTPUT_MAY
            if IMPURE_HEADERS.match(name) and not (is_types or is_output):
                yield f"{place}: {room}/ is pure and may not include <{name}>"
            elif name == "sys/socket.h" and room not in SOCKET_TYPES_MAY and not is_output:
                yield f"{place}: {room}/ is pure and may not include <{name}>"
            elif name in CLOCK and str(relative) not in CLOCK_MAY:
                yield f"{place}: {room}/ is pure and knows no clock or randomness (<{name}>)"


def main():
    root = pathlib.Path(__file__).resolve().parent.parent / "src"
    layers = read_layers(root / "LAYERS")
    failures = []
    for source in sorted(root.rglob("*.[ch]")):
        relative = source.relative_to(root)
        room = relative.parts[0]
        if room not in layers:
            failures.append(f"src/{relative}: src/LAYERS does not know {room}/")
            continue
        is_test = re.search(r"_(test|fuzz)\.c$", source.name)
        checked = dict.fromkeys(layers) if is_test else layers[room]
        failures += check_includes(source, relative, "a test" if is_test else room, checked, layers)
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
