"""Standard output and error that nobody reads, or that are closed: sessions do not notice."""

import contextlib
import fcntl
import os
import struct
import termios

import pytest

from culvert.peers import receive_exactly
from culvert.process import eventually
from culvert.wire import ACK, OPEN, Link, encode


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
        pass
    return text.decode(errors="replace")


def is_full(descriptor):
    """A pipe of 64 KiB takes not one line more, or nearly so."""
    size = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0]
    return size > fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ) - 16 * 1024


def test_a_log_that_nobody_reads_stops_no_session(world, unread):
    """A stranger's and an agent's refusals fill it; the session beside them goes on, and a new one
    begins. What was dropped is counted."""
    descriptor, wrapper = unread
    tunnel = world.tunnel(world.echo_server().port, threads=1, wrapper=wrapper,
                          options=("--log-level", "debug"))
    session = tunnel.connect()
    rogues = []
    for number in range(8):
        rogue = world.keep(Link.connect(tunnel.gateway))
        rogue.shake_hands(f"rogue{number}")
        rogues.append(rogue)
    for round_ in range(4):
        for rogue in rogues:
            first = 1 + 400 * round_
            for sid in range(first, first + 400, 2):
                rogue.send(encode(OPEN, [sid, "tcp", "nobody", "x" * 60, 9, "", {}]))
            rogue.wait_for(ACK, first)
        session.sendall(b"goes on")
        assert receive_exactly(session, 7) == b"goes on"
    for number in range(800):
        with contextlib.closing(Link.connect(tunnel.gateway)) as stranger:
            stranger.shake_hands(f"stranger{number}")
        if is_full(descriptor):
            break
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


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_closed_descriptors_are_opened_first(world, closed):
    """Otherwise a socket gets the number, and what is written for people goes to a peer."""
    gateway = world.gateway(threads=1)
    agent = world.agent(gateway, "agent", wait=False,
                        wrapper=("sh", "-c", f'exec "$@" {closed}>&-', "sh"))
    gateway.wait_for("agent.registered .*agent=agent ", stream="err")
    assert os.readlink(f"/proc/{agent.pid}/fd/{closed}") == "/dev/null"
