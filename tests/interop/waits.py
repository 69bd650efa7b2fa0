"""What takes half a minute: each a function that runs beside the other tests, and fails as they do.

They start with the first test of this folder; test_interop_waits.py, the last, looks at what became
of them.
"""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

from culvert.peers import (connect, expect_gone, expect_reset, fill, is_silent, receive_all,
                           receive_exactly)
from culvert.world import MEGABYTE
from hubble.background import Background
from hubble.by_hand import Station
from hubble.messages import CONNECTION_CLOSED, DATA, INITIATOR, TERMINATOR, acknowledge, encode
from programs import Programs

PATIENCE = 90.0
HALF_A_MINUTE = 30.0


class Elapsed:
    """Seconds since it was made."""

    def __init__(self):
        self._start = time.monotonic()

    def expect(self, lowest, highest):
        seconds = time.monotonic() - self._start
        assert lowest <= seconds <= highest, f"{seconds:.1f} s, not {lowest} to {highest}"


def unanswered(programs, kind):
    """Acceptance case 21, and a late ack (quirk 3)."""
    world = programs.world
    station = world.keep(Station())
    agent = programs.agent(kind, station.url(), "east", "0:west:h:22", wait=False)
    peer, _ = station.register()
    agent.wait_registered()
    elapsed = Elapsed()
    client = world.keep(connect(agent.port(), timeout=PATIENCE))
    client.sendall(b"early")
    guid = peer.expect(INITIATOR)["GUID"]
    expect_gone(client, PATIENCE)
    elapsed.expect(29.0, PATIENCE)
    peer.expect(CONNECTION_CLOSED, GUID=guid)
    peer.expect_nothing()
    peer.send(acknowledge(guid))
    peer.send_message(DATA, GUID=guid, Order=1, Data=b"x")
    peer.send_message(TERMINATOR, GUID=guid)
    answers = peer.drain()
    assert set(answers) <= {encode(CONNECTION_CLOSED, GUID=guid)}
    # It is as ready as before.
    world.keep(connect(agent.port()))
    assert peer.expect(INITIATOR)["GUID"] != guid


def unanswered_agent(programs):
    unanswered(programs, "agent")


def unanswered_hubble_agent(programs):
    unanswered(programs, "hubble-agent")


def never_ponged(programs):
    """Early data is not held for ever."""
    world = programs.world
    gateway = programs.gateway()
    west = programs.link(gateway, "west")
    west.answers_pings = False
    near = programs.agent("native", gateway.url(), "near", "0:west:h:22")
    client = world.keep(connect(near.port()))
    client.sendall(b"early")
    guid = west.accept()["GUID"]
    elapsed = Elapsed()
    west.expect_data(guid, b"early")
    elapsed.expect(3.0, PATIENCE)


def withheld_half_close(programs):
    """A responder that waits for just that end is told in the end. As it has not answered, its session
    ends as a reset."""
    world = programs.world
    gateway = programs.gateway()
    server = world.server()
    programs.agent("python", gateway.url(), "west")
    near = programs.agent("native", gateway.url(), "near", f"0:west:127.0.0.1:{server.port}")
    client = world.keep(connect(near.port(), timeout=PATIENCE))
    client.sendall(b"all that there is")
    client.shutdown(socket.SHUT_WR)
    target = server.accept()
    target.settimeout(PATIENCE)
    elapsed = Elapsed()
    assert receive_all(target) == b"all that there is"
    elapsed.expect(25.0, PATIENCE)
    target.close()
    expect_reset(client)


def slow_target(programs):
    """A link that is held back for long is still the same link afterwards, and nothing is lost."""
    world = programs.world
    gateway = programs.gateway()
    server = world.server()
    programs.agent("native", gateway.url(), "far")
    near = programs.agent("python", gateway.url(), "near", f"0:far:127.0.0.1:{server.port}")
    client = world.keep(connect(near.port()))
    target = server.accept()
    sent = fill(client, patience=1.0, limit=64 * MEGABYTE)
    assert is_silent(client, HALF_A_MINUTE + 2)
    assert receive_exactly(target, sent) == bytes(sent)
    client.sendall(b"more")
    assert receive_exactly(target, 4) == b"more"
    assert gateway.count("agent.unregistered") == 0


def silent_agent(programs):
    """An original answers no ping while a session of its has a slow reader."""
    world = programs.world
    gateway = programs.gateway()
    west = programs.link(gateway, "west", receive_buffer=65536)
    near = programs.agent("native", gateway.url(), "near", "0:west:h:22")
    client = world.keep(connect(near.port()))
    guid = west.accept()["GUID"]
    west.expect_nothing()
    sent = fill(client, patience=1.0, limit=64 * MEGABYTE)
    assert is_silent(client, HALF_A_MINUTE + 2)
    west.expect_data(guid, bytes(sent))
    assert gateway.count("agent.unregistered") == 0


SCENARIOS = [unanswered_agent, unanswered_hubble_agent, never_ponged, withheld_half_close,
             slow_target, silent_agent]


class Waits:
    """All scenarios, running; `world` ends what they have started."""

    def __init__(self, world):
        background = world.keep(Background())
        self._pool = ThreadPoolExecutor(len(SCENARIOS))
        self._running = {one.__name__: self._pool.submit(one, Programs(world, background))
                         for one in SCENARIOS}

    def result(self, name):
        """Waits for a scenario and raises what it has raised."""
        self._running[name].result(PATIENCE + 10)
