"""The commands that the documents show work as they stand there.

A block fenced as ```sh test is run by bash in an empty directory, inside a network of its own (so
that the ports it names are free) with a web server on port 80. A block fenced as ```text output
right behind it holds what it prints: each line must be part of a line of the output, in this order;
`…` stands for anything.
"""

import os
import pathlib
import re
import shutil
import subprocess
import textwrap

import pytest

from culvert.process import run
from culvert.world import BINARY, ROOT, culvert, environment

pytestmark = pytest.mark.once

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "clients/python/README.md", *sorted(
    str(path.relative_to(ROOT)) for path in pathlib.Path(ROOT, "docs").glob("*.md"))]
BLOCK = re.compile(r"^```sh test\n(.*?)^```\n(?:\n?```text output\n(.*?)^```\n)?", re.M | re.S)
SECONDS = 60

# What a block finds when it starts. Everything it leaves running ends with its process namespace.
PRELUDE = """
set -euo pipefail
ip link set lo up
mkdir .web
echo 'a page from port 80' > .web/index.html
/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory .web 80 > /dev/null 2>&1 &
until (: < /dev/tcp/127.0.0.1/80) 2> /dev/null; do sleep 0.05; done
"""


NAMESPACES = ["unshare", "--map-root-user", "--net", "--pid", "--mount-proc", "--fork",
              "--kill-child"]


def blocks():
    for name in DOCUMENTS:
        text = pathlib.Path(ROOT, name).read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text[:match.start()].count("\n") + 1
            yield pytest.param(match[1], match[2] or "", id=f"{name}:{line}")


def has_namespaces():
    probe = subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False)
    return probe.returncode == 0


@pytest.mark.parametrize("commands,expected", list(blocks()))
def test_block(commands, expected, world):
    if not has_namespaces():
        pytest.skip("this system lets us have no namespaces")
    folder = world.path("block")
    tools = world.path("bin")
    os.mkdir(folder)
    os.mkdir(tools)
    os.symlink(BINARY, os.path.join(tools, "culvert"))
    script = world.write("script", PRELUDE + commands)
    result = run([*NAMESPACES, "bash", script], timeout=SECONDS, cwd=folder,
                 env=environment(PATH=f"{tools}:{os.environ['PATH']}:/usr/sbin:/sbin",
                                 PYTHONPATH=os.path.join(ROOT, "clients", "python"),
                                 PYTHONDONTWRITEBYTECODE="1"))
    output = result.stdout + result.stderr
    assert result.returncode == 0, f"{commands}\nended with {result.returncode}:\n{output}"
    if "curl" in commands:
        assert "a page from port 80" in result.stdout, output
    position = 0
    lines = output.splitlines()
    for wanted in textwrap.dedent(expected).splitlines():
        pattern = re.compile(".*".join(re.escape(part) for part in wanted.split("…")))
        found = next((number for number in range(position, len(lines))
                      if pattern.search(lines[number])), None)
        assert found is not None, f"no line {wanted!r} behind line {position} of:\n{output}"
        position = found + 1


# A command that a page shows by the way. `...` stands for what else it needs.
SHOWN = re.compile(r"^    culvert (gateway|agent) (.*)$", re.M)
REST = {
    "gateway": "--listen 127.0.0.1:0 --auth-grant --open --data ./data",
    "agent": "--name office",
}
IS_STARTED = {"gateway": "^listening on ", "agent": "cannot register at "}


def shown_commands():
    for name in DOCUMENTS:
        text = pathlib.Path(ROOT, name).read_text(encoding="utf-8")
        for match in SHOWN.finditer(text):
            line = text[:match.start()].count("\n") + 1
            yield pytest.param(match[1], match[2], id=f"{name}:{line}")


@pytest.mark.parametrize("command,words", list(shown_commands()))
def test_shown_command(command, words, world, authority):
    """It starts as it stands there, in a network without the hosts that it names."""
    if not has_namespaces():
        pytest.skip("this system lets us have no namespaces")
    folder = world.path("shown")
    os.mkdir(folder)
    certificate = authority.issue("shown")
    shutil.copy(certificate.certificate, os.path.join(folder, "cert.pem"))
    shutil.copy(certificate.key, os.path.join(folder, "key.pem"))
    key = pathlib.Path(folder, "office.key")
    key.write_text("a-key-that-no-gateway-knows\n", encoding="utf-8")
    key.chmod(0o600)
    words = words.replace("[RULE...]", "").replace("...", REST[command])
    script = f"ip link set lo up; exec {BINARY} {command} {words}"
    process = world.process(command, [*NAMESPACES, "bash", "-c", script], cwd=folder,
                            env=environment(XDG_STATE_HOME=folder))
    process.wait_for(IS_STARTED[command])
    process.kill()


OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]+)")


def manual_options(command):
    """The options that a manual page explains: `.It Fl -name` and further `Fl -name` there."""
    page = pathlib.Path(ROOT, "docs", "man", f"culvert-{command}.1").read_text(encoding="utf-8")
    return {name for line in page.splitlines() if line.startswith(".It")
            for name in re.findall(r"\bFl -([a-z-]+)", line)}


@pytest.mark.parametrize("command", ["gateway", "agent", "key", "acl", "forward"])
def test_manual_page_and_help_name_the_same_options(command):
    result = culvert("help", command)
    assert result.returncode == 0, result.stderr
    helped = set(OPTION.findall(result.stdout)) - {"help"}
    assert helped == manual_options(command)


@pytest.mark.parametrize("command", ["gateway", "agent", "key"])
def test_readme_names_no_option_that_does_not_exist(command):
    """Every option in README's section on a command is one that its help knows."""
    heading = {"gateway": "Gateway", "agent": "Agents", "key": "Keys"}[command]
    readme = pathlib.Path(ROOT, "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^### {heading}\n(.*?)^### ", readme, re.M | re.S)[1]
    known = set(OPTION.findall("".join(
        culvert("help", name).stdout for name in ("gateway", "agent", "key"))))
    named = set(OPTION.findall(section))
    assert named, f"the section {heading} names no option"
    assert named <= known


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents(name):
    """A relative link leads to a file."""
    document = pathlib.Path(ROOT, name)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), f"{name} links to {target}"


def test_manual_pages_are_well_formed():
    for page in sorted(pathlib.Path(ROOT, "docs", "man").glob("*.1")):
        result = run(["man", "--warnings", "-E", "UTF-8", "-l", page], timeout=30,
                     env=environment(MANPAGER="cat", MANWIDTH="100"))
        assert result.returncode == 0, result.stderr
        assert result.stderr == "", result.stderr


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_that_are_named_exist(name):
    """A path in backticks is that of a file or folder, from the root or from src/."""
    text = pathlib.Path(ROOT, name).read_text(encoding="utf-8")
    for path in re.findall(r"`([\w.*-]+/[\w./*-]*|[\w*-]+\.(?:c|h|py|md))`", text):
        if path.startswith("./") or path.startswith("build"):
            continue
        places = [pathlib.Path(ROOT), pathlib.Path(ROOT, "src"), pathlib.Path(ROOT, name).parent]
        found = any(list(place.glob(path)) or list(place.glob(f"**/{path}")) for place in places)
        assert found or path.startswith("x_") or path == "x.c", f"{name} names {path}"
