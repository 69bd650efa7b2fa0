"""Standard output and error that nobody reads, or that are closed: sessions do not notice."""

import contextlib
import fcntl
import os
import struct
import termios

import pytest

from culvert.peers import connect, free_port, receive_exactly
from culvert.process import eventually
from culvert.wire import Link
from culvert.world import culvert, environment


@pytest.fixture
def unread(world):
    """A pipe that the test holds open and does not read, and a wrapper that makes it standard
    error."""
    path = world.path("unread")
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    yield descriptor, ("sh", "-c", 'exec "$@" 2>"$0"', path)
    os.close(descriptor)


def read_lines(descriptor):
    text = b""
    try:
        while data := os.read(descriptor, 65536):
            text += data
    except BlockingIOError:
        pass  # that was all
    return text.decode(errors="replace")


def is_full(descriptor):
    """A pipe of 64 KiB takes not one line more, or nearly so."""
    size = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0]
    return size > fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ) - 16 * 1024


def test_a_log_that_nobody_reads_stops_no_session(world, unread):
    """Agents that come and go fill it; the session beside them continues, and a new one begins.
    What was dropped is counted."""
    descriptor, wrapper = unread
    tunnel = world.tunnel(world.echo_server().port, threads=1, wrapper=wrapper,
                          options=("--log-level", "debug"))
    session = tunnel.connect()
    beyond = 0
    for number in range(2000):
        with contextlib.closing(Link.connect(tunnel.gateway)) as agent:
            agent.shake_hands(f"agent-that-comes-and-goes-{number}")
        beyond += is_full(descriptor)
        if beyond == 100:  # whose lines are more than there is room for
            break
    exchange(session)
    tunnel.check()
    read_lines(descriptor)
    with contextlib.closing(Link.connect(tunnel.gateway)) as last:
        last.shake_hands("last")
    text = ""

    def is_told():
        nonlocal text
        text += read_lines(descriptor)
        return "of the log were dropped since nobody read standard error" in text
    eventually(is_told)


def exchange(session):
    session.sendall(b"goes on")
    assert receive_exactly(session, 7) == b"goes on"


def fill(descriptor):
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):  # it takes no more
            while True:
                os.write(descriptor, b"x" * size)


def test_output_of_an_agent_that_nobody_reads_stops_no_session(world, unread):
    """Its standard output is full from the start: forwards come and serve their clients, and the
    log counts the lines that were dropped."""
    descriptor, _ = unread
    echo = world.echo_server().port
    gateway = world.gateway(threads=1)
    world.agent(gateway, "agent2")
    fill(descriptor)
    port, api = free_port(), f"127.0.0.1:{free_port()}"
    variables = environment(XDG_STATE_HOME=world.path("state"))
    rule = f"agent2:127.0.0.1:{echo}"
    agent = world.agent(gateway, "agent1", f"{port}:{rule}", wait=False, env=variables,
                        options=["--api", api],
                        wrapper=("sh", "-c", 'exec "$@" >"$0"', world.path("unread")))
    gateway.wait_for("agent.registered .*agent=agent1 ", stream="err")
    with connect(port) as first:
        exchange(first)

        def add():
            result = culvert("forward", "add", "--api", f"http://{api}", f"0:{rule}", env=variables)
            assert result.returncode == 0, result.stderr
            return int(result.stdout.partition(" -> ")[0].rpartition(":")[2])

        with connect(add()) as second:
            exchange(second)
        agent.wait_for("nobody reads standard output: lines for it are dropped", stream="err")
        read_lines(descriptor)
        last = add()
        assert read_lines(descriptor) == f"forwarding 127.0.0.1:{last} -> {rule}\n"
        agent.wait_for("4 lines for standard output were dropped", stream="err")
        exchange(first)


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_closed_descriptors_are_opened_first(world, closed):
    """Otherwise a socket gets the number, and what is written for people goes to a peer."""
    gateway = world.gateway(threads=1)
    agent = world.agent(gateway, "agent", wait=False,
                        wrapper=("sh", "-c", f'exec "$@" {closed}>&-', "sh"))
    gateway.wait_for("agent.registered .*agent=agent ", stream="err")
    assert os.readlink(f"/proc/{agent.pid}/fd/{closed}") == "/dev/null"
