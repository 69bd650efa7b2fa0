#!/usr/bin/env python3
"""Writes a C file that holds the bytes of another: embed_file.py INPUT OUTPUT HEADER NAME

HEADER, which is included, declares `const char NAME[]` and `const size_t NAME_size`.
"""

import pathlib
import sys


def main():
    source, target, header, name = sys.argv[1:]
    content = pathlib.Path(source).read_bytes()
    lines = [",".join(str(byte) for byte in content[start:start + 24])
             for start in range(0, len(content), 24)]
    pathlib.Path(target).write_text(
        f'#include "{header}"\n\nconst char {name}[] = {{\n' + ",\n".join(lines) +
        f"}};\nconst size_t {name}_size = sizeof {name};\n", encoding="ascii")


if __name__ == "__main__":
    main()
