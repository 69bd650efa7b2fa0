"""libculvert: the programs under examples/, alone and beside agents and gateways of their own."""

import os
import re
import shutil

import pytest

from culvert.peers import connect, echo_once, expect_session_reset, receive_exactly
from culvert.process import eventually, run
from culvert.services import WebServer
from culvert.world import BINARY, ROOT, Agent, Gateway, environment

BUILD = os.path.dirname(BINARY)
SOURCES = os.path.join(ROOT, "examples")
EXAMPLES = os.path.join(BUILD, "examples")

pytestmark = pytest.mark.skipif(not os.path.isdir(EXAMPLES),
                                reason="the examples stand beside a binary that was built here")


class EmbeddedAgent(Agent):
    """The example of an agent. It takes commands, and ends with its standard input."""

    def __init__(self, world, url, name, *allowed, **variables):
        reading, self._writing = os.pipe()
        super().__init__(name, [os.path.join(EXAMPLES, "embed_agent"), url, name, *allowed],
                         stdin=reading, env=environment(**variables))
        os.close(reading)
        world.adopt(self)

    def tell(self, command):
        os.write(self._writing, f"{command}\n".encode())

    def add(self, rule):
        """(id, port) of a new forward."""
        since = self.mark()
        self.tell(f"add {rule}")
        match = self.wait_for(r"^forward (\d+) on port (\d+)$", since=since)
        return int(match[1]), int(match[2])

    def remove(self, number):
        since = self.mark()
        self.tell(f"remove {number}")
        self.wait_for(f"^removed {number}$", since=since)

    def ask_to_stop(self):
        if self._writing is not None:
            os.close(self._writing)
        self._writing = None

    def wait_ready(self):
        self.wait_for(f"^registered as {self.agent_name}$")
        return self


def embedded_agent(world, gateway, name, *allowed, **variables):
    return EmbeddedAgent(world, gateway.url(), name, *allowed, **variables).wait_ready()


def embedded_gateway(world):
    return world.adopt(Gateway(world.unique("gateway"),
                               [os.path.join(EXAMPLES, "embed_gateway"), "127.0.0.1:0"], None, None,
                               env=environment()))


def refuses(port):
    try:
        connect(port, timeout=1.0).close()
        return False
    except OSError:
        return True


def test_an_embedded_gateway_joins_sessions_and_tells(world):
    gateway = embedded_gateway(world)
    tunnel = world.tunnel(world.echo_server().port, gateway=gateway)
    gateway.wait_for("^agent.registered: agent1$", stream="out")
    gateway.wait_for("^agent.registered: agent2$", stream="out")
    tunnel.check()
    gateway.wait_for("^session.opened: agent2$", stream="out")
    gateway.wait_for("^session.closed: to agent2, 5 bytes there and 5 back$", stream="out")
    assert tunnel.near.stop() == 0
    gateway.wait_for("^agent.unregistered: agent1$", stream="out")
    assert gateway.stop() == 0
    gateway.wait_for("^ended: no error$", stream="out")


def test_forwards_come_and_go_while_an_embedded_agent_runs(world):
    server = world.server()
    gateway = world.gateway()
    world.agent(gateway, "agent2")
    agent = embedded_agent(world, gateway, "agent1")
    number, port = agent.add(f"0:agent2:127.0.0.1:{server.port}")
    client = world.keep(connect(port))
    client.sendall(b"before")
    target = server.accept()
    assert receive_exactly(target, 6) == b"before"
    agent.remove(number)
    assert refuses(port)
    target.sendall(b"after")
    assert receive_exactly(client, 5) == b"after"
    other, again = agent.add(f"{port}:agent2:127.0.0.1:{server.port}")
    assert again == port and other != number
    agent.tell(f"remove {number}")
    agent.wait_for("^not removed: not found$")
    agent.tell(f"add {port}:agent2:127.0.0.1:22")
    agent.wait_for("^not added: .*in use")
    client.close()
    target.close()
    agent.wait_for(r'^event \{"event":"session.closed",.*"agent":"agent2",.*"sent":6,'
                   r'.*"received":5', stream="out")
    assert agent.stop() == 0
    assert refuses(port)


def test_an_embedded_agent_is_dialled_where_it_allows_it(world, large_file):
    web = WebServer(world, large_file)
    closed = world.echo_server().port
    gateway = world.gateway()
    embedded_agent(world, gateway, "agent2", f"127.0.0.1:{web.port}")
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{web.port}",
                       f"0:agent2:127.0.0.1:{closed}")
    result = run(["curl", "-q", "-sS", "--noproxy", "*", f"http://127.0.0.1:{near.port()}/small"],
                 check=True)
    assert result.stdout == "a small page\n"
    expect_session_reset(near.port(1))


def test_an_embedded_agent_has_a_key_and_a_ca(world, authority):
    gateway = world.gateway(secure=True, is_open=False)
    world.agent(gateway, "agent2", key=gateway.add_key("agent2"))
    agent = embedded_agent(world, gateway, "agent1", CULVERT_KEY=gateway.add_key("agent1"),
                           CULVERT_CA=authority.certificate)
    echo_once(agent.add(f"0:agent2:127.0.0.1:{world.echo_server().port}")[1])
    wrong = EmbeddedAgent(world, gateway.url(), "agent3", CULVERT_KEY="cvk_wrong",
                          CULVERT_CA=authority.certificate)
    assert wrong.wait() == 1
    wrong.wait_for("^embed_agent: cannot register as agent3 at .*key", stream="err")
    wrong.ask_to_stop()


def test_an_embedded_agent_comes_back(world):
    server = world.echo_server()
    gateway = world.gateway()
    world.agent(gateway, "agent2")
    agent = embedded_agent(world, gateway, "agent1")
    _, port = agent.add(f"0:agent2:127.0.0.1:{server.port}")
    assert gateway.stop() == 0
    agent.wait_for('^event .*"event":"agent.unregistered"', stream="out")
    since = agent.mark()
    world.gateway(listen=f"127.0.0.1:{gateway.port}")
    agent.wait_for('^event .*"event":"agent.registered"', since=since, stream="out")
    eventually(lambda: world.processes[1].count("^registered as agent2") == 2)
    echo_once(port)


def test_an_embedded_gateway_and_agent_together(world):
    gateway = embedded_gateway(world)
    server = world.echo_server()
    embedded_agent(world, gateway, "agent2", f"127.0.0.1:{server.port}")
    near = embedded_agent(world, gateway, "agent1")
    echo_once(near.add(f"0:agent2:127.0.0.1:{server.port}")[1])


@pytest.fixture(scope="module")
def plain():
    """A build that brings nothing along which other programs would have to be linked with."""
    with open(BINARY, "rb") as file:
        content = file.read()
    if any(sign in content for sign in (b"__asan_init", b"__tsan_init", b"__gcov_")):
        pytest.skip("the library was built with a sanitizer or to count coverage")


@pytest.mark.once
def test_only_the_interface_is_visible(plain):
    """Nothing of the inside can clash with a function of the program around it."""
    for arguments in (["-D", "libculvert.so"], ["-g", "libculvert.a"]):
        result = run(["nm", "--defined-only", arguments[0],
                      os.path.join(BUILD, "include", arguments[1])], check=True)
        names = re.findall(r"^[0-9a-f]+ [A-Z] (\S+)$", result.stdout, re.M)
        assert "culvert_gateway_start" in names
        assert [name for name in names if not name.startswith("culvert_")] == []


@pytest.fixture(scope="module")
def installed(directory, plain):
    """The library as it is installed under a root of its own, and pkg-config's environment."""
    root = os.path.join(directory, "installed")
    run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root], check=True)
    found = run(["find", root, "-name", "culvert.pc"], check=True).stdout.split()
    assert len(found) == 1
    yield environment(PKG_CONFIG_SYSROOT_DIR=root, PKG_CONFIG_PATH=os.path.dirname(found[0]))
    shutil.rmtree(root)


def flags(installed, *options):
    return run(["pkg-config", *options, "culvert"], env=installed, check=True).stdout.split()


def compile_program(world, source, *options):
    program = world.path("program")
    run(["cc", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o", program, source, *options],
        check=True)
    return program


def with_library(installed):
    """Where the installed library is found when a program starts."""
    path = next(word[2:] for word in flags(installed, "--libs") if word.startswith("-L"))
    return environment(LD_LIBRARY_PATH=path)


@pytest.mark.once
@pytest.mark.parametrize("name", ["embed_agent", "embed_gateway"])
def test_an_example_is_compiled_against_what_is_installed(world, installed, name):
    program = compile_program(world, os.path.join(SOURCES, f"{name}.c"),
                              *flags(installed, "--cflags", "--libs"))
    result = run([program], env=with_library(installed))
    assert result.returncode == 2
    assert f"usage: {name}" in result.stderr
    needed = run(["readelf", "-d", program], check=True).stdout
    assert re.search(r"NEEDED.*\[libculvert\.so\.\d+\]", needed)


@pytest.mark.once
def test_an_example_is_linked_statically(world, installed):
    words = ["-l:libculvert.a" if word == "-lculvert" else word
             for word in flags(installed, "--static", "--cflags", "--libs")]
    program = compile_program(world, os.path.join(SOURCES, "embed_gateway.c"), *words)
    assert "libculvert" not in run(["readelf", "-d", program], check=True).stdout
    gateway = world.adopt(Gateway("gateway", [program, "127.0.0.1:0"], None, None,
                                  env=environment()))
    world.tunnel(world.echo_server().port, gateway=gateway).check()


@pytest.mark.once
def test_the_program_in_the_manual_works(world, installed):
    with open(os.path.join(ROOT, "docs", "library.md"), encoding="utf-8") as page:
        source = re.search(r"^```c\n(.*?)^```$", page.read(), re.M | re.S)[1]
    program = compile_program(world, world.write("program.c", source),
                              *flags(installed, "--cflags", "--libs"))
    result = run([program], env=with_library(installed))
    assert result.returncode == 0, result.stderr
    assert "/ is port 80 of the office\n" in result.stdout


@pytest.mark.once
@pytest.mark.parametrize("header", ["agent", "culvert", "event", "gateway"])
@pytest.mark.parametrize("compiler", [["cc", "-std=c99", "-Wstrict-prototypes"],
                                      ["c++", "-x", "c++", "-std=c++11"]], ids=["c", "c++"])
def test_each_header_stands_alone(world, installed, compiler, header):
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"there is no {compiler[0]}")
    source = world.write("program.c", f"#include <culvert/{header}.h>\n" * 2 +
                         "int main(void) { return culvert_version() == 0; }\n")
    run([*compiler, "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", source, "-o",
         world.path("program"), *flags(installed, "--cflags", "--libs")], check=True)
