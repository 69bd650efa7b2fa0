"""What 0.1 lacks and a gateway makes up for: readiness, half-close, flow control."""

import hashlib
import os
import select
import socket
import threading

import pytest

from culvert.peers import (connect, echo_once, expect_end, expect_gone, fill, is_silent,
                           receive_all, receive_exactly)
from culvert.process import PATIENCE, eventually
from culvert.task import Task
from culvert.wire import BINARY, PING, PONG, frame
from culvert.world import MEGABYTE
from hubble.messages import CONNECTION_CLOSED, DATA, INITIATOR, TERMINATOR, acknowledge, encode

MEMORY = 48 * MEGABYTE
BULK = os.urandom(3 * MEGABYTE)


@pytest.fixture
def gateway(programs):
    return programs.gateway()


@pytest.fixture
def server(world):
    """A target that hands its connections to the test."""
    return world.server()


def python_agent(programs, gateway, name, *rules, **options):
    return programs.background.agent(gateway.url(), name, *rules, **options)


def expect_growth_below(gateway, before, limit, sanitized):
    """With a sanitizer memory cannot be judged."""
    assert sanitized or gateway.memory() - before < limit


# Early data.


def test_early_data_waits_for_the_ack_and_a_pong(programs, world, gateway):
    west = programs.link(gateway, "west")
    west.answers_pings = False
    near = world.agent(gateway, "near", "0:west:127.0.0.1:9")
    client = world.keep(connect(near.port()))
    client.sendall(b"early")
    guid = west.expect(INITIATOR, Gatename="west", RemoteHost="127.0.0.1", RemotePort=9)["GUID"]
    west.expect_nothing()
    west.send(acknowledge(guid))
    opcode, payload = west.next_event()
    assert opcode == PING
    west.expect_nothing()
    assert is_silent(west.connection, 0.2)
    west.send_frame(PONG, payload)
    order = west.expect_data(guid, b"early")
    client.sendall(b"later")
    west.expect_data(guid, b"later", order)


def test_data_before_the_ack_is_kept_for_it(programs, gateway):
    """An original does not send any; another agent may."""
    east, west = programs.link(gateway, "east"), programs.link(gateway, "west")
    east.open("s1", "west", 9)
    east.send_data("s1", BULK[:10000])
    assert west.expect(INITIATOR)["GUID"] == "s1"
    west.expect_nothing()
    west.send(acknowledge("s1"))
    east.expect_bytes(acknowledge("s1"))
    west.expect_data("s1", BULK[:10000])


def exchange(port, data):
    """There and back with an echo server; 0.1 knows no half-close, so the client ends first."""
    with connect(port) as client:
        client.sendall(data)
        assert receive_exactly(client, len(data)) == data


def test_the_originals_race_loses_data(programs, world):
    """The next test's responder does what it is there for: with a proxy as the original, which
    does not wait, its sessions fail."""
    proxy = world.keep(programs.background.proxy())
    python_agent(programs, proxy, "west", registers_late=True)
    east = python_agent(programs, proxy, "east", f"0:west:127.0.0.1:{world.echo_server().port}")
    with connect(east.port()) as client:
        client.sendall(b"early")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""


@pytest.mark.parametrize("near", ["native", "python"])
def test_the_originals_race_is_won(programs, world, gateway, near):
    """A responder that takes data only behind the event that follows its ack."""
    python_agent(programs, gateway, "west", registers_late=True)
    rule = f"0:west:127.0.0.1:{world.echo_server().port}"
    if near == "native":
        east = world.agent(gateway, "east", rule)
    else:
        east = python_agent(programs, gateway, "east", rule)
    for number in range(20):
        exchange(east.port(), b"early %d" % number)


# Half-close.


def test_a_native_half_close_is_withheld(programs, world, gateway, server):
    """Like nc -N: the client has said all it has to say, and waits for the answer."""
    python_agent(programs, gateway, "west")
    near = world.agent(gateway, "near", f"0:west:127.0.0.1:{server.port}")
    client = world.keep(connect(near.port()))
    client.sendall(b"a request")
    client.shutdown(socket.SHUT_WR)
    target = server.accept()
    assert receive_exactly(target, 9) == b"a request"
    assert is_silent(target, 0.5)
    answer = Task(lambda: (target.sendall(BULK), target.close()))
    assert receive_all(client) == BULK
    answer.finish(PATIENCE)


def test_a_withheld_half_close_comes_once_the_other_end_is_told(programs, world, gateway):
    west = programs.link(gateway, "west")
    near = world.agent(gateway, "near", "0:west:127.0.0.1:9")
    client = world.keep(connect(near.port()))
    guid = west.accept()["GUID"]
    client.sendall(b"a request")
    client.shutdown(socket.SHUT_WR)
    west.expect_data(guid, b"a request")
    west.send_data(guid, b"the answer")
    west.expect_nothing()
    west.send_message(DATA, GUID=guid, Order=2, Data=b"")
    west.send_message(CONNECTION_CLOSED, GUID=guid)
    assert receive_all(client) == b"the answer"
    kind, body = west.receive()
    assert (kind, body) == (TERMINATOR, {"GUID": guid})


@pytest.mark.parametrize("kind", ["python", "agent"])
def test_a_native_server_that_closes_first(programs, world, gateway, server, kind):
    """It waits for the client's end, and the client for its."""
    world.agent(gateway, "far")
    near = programs.agent(kind, gateway.url(), "near", f"0:far:127.0.0.1:{server.port}")
    client = world.keep(connect(near.port()))
    client.sendall(b"a request")
    target = server.accept()
    assert receive_exactly(target, 9) == b"a request"
    answer = Task(lambda: (target.sendall(BULK), target.shutdown(socket.SHUT_WR)))
    assert receive_exactly(client, len(BULK)) == BULK
    expect_end(client)
    expect_gone(target)
    answer.finish(PATIENCE)


def test_a_native_reset_ends_the_session(programs, world, gateway, server):
    world.agent(gateway, "far")
    east = programs.link(gateway, "east")
    east.open("s1", "far", server.port)
    east.expect_bytes(acknowledge("s1"))
    target = server.accept()
    target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    target.close()
    east.expect(TERMINATOR, GUID="s1")
    east.send_message(CONNECTION_CLOSED, GUID="s1")
    east.expect_nothing()


@pytest.mark.parametrize("last", [True, False], ids=["end of file", "read error"])
def test_the_end_of_an_initiator_reaches_a_native_target(programs, world, gateway, server, last):
    world.agent(gateway, "far")
    east = programs.link(gateway, "east")
    east.open("s1", "far", server.port)
    east.expect_bytes(acknowledge("s1"))
    order = east.send_data("s1", BULK)
    if last:
        east.send_message(DATA, GUID="s1", Order=order, Data=b"")
    east.send_message(CONNECTION_CLOSED, GUID="s1")
    target = server.accept()
    assert receive_exactly(target, len(BULK)) == BULK
    expect_gone(target)
    target.close()
    east.expect(TERMINATOR, GUID="s1")


@pytest.mark.parametrize("dies", ["near", "far"])
def test_an_agent_that_dies_amid_a_transfer(programs, world, gateway, server, dies):
    west = python_agent(programs, gateway, "west")
    native = programs.agent("native", gateway.url(), "native", f"0:west:127.0.0.1:{server.port}")
    east = python_agent(programs, gateway, "east", f"0:native:127.0.0.1:{server.port}")
    client = world.keep(connect(native.port() if dies == "far" else east.port()))
    target = server.accept()
    fill(target, patience=0.3, limit=64 * MEGABYTE)
    (west if dies == "far" else east).kill()
    expect_gone(client)
    expect_gone(target)
    again = python_agent(programs, gateway, "west" if dies == "far" else "east")
    assert again.mark() == 1


# Flow control.


class Flood:
    """Sends a session's data as fast as it is taken, from a thread."""

    def __init__(self, peer, guid, size, order=1):
        self.digest = hashlib.sha256()
        self.sent = 0
        self._peer = peer
        self._guid = guid
        self._size = size
        self._order = order
        self.thread = threading.Thread(target=self._send, daemon=True)
        self.thread.start()

    def _send(self):
        piece = os.urandom(1024)
        while self.sent < self._size:
            message = encode(DATA, GUID=self._guid, Order=self._order, Data=piece)
            try:
                self._peer.send_raw(frame(BINARY, message))
            except OSError:
                return
            self.digest.update(piece)
            self.sent += len(piece)
            self._order += 1

    def wait_stuck(self, patience=0.3):
        """Waits until nothing was taken for so long; returns how much was."""
        while True:
            before = self.sent
            if not select.select([], [self._peer.connection], [], patience)[1]:
                if self.sent == before:
                    return before
            assert self.thread.is_alive(), f"all {self.sent} bytes were taken, nobody reads them"


def test_an_agent_that_does_not_read_is_waited_for(programs, world, gateway, sanitized):
    """Bytes for it wait in its session's client, not in the gateway."""
    echo = world.echo_server()
    world.agent(gateway, "far")
    near = world.agent(gateway, "near", "0:west:127.0.0.1:9", f"0:far:127.0.0.1:{echo.port}")
    west = programs.link(gateway, "west", receive_buffer=65536)
    client = world.keep(connect(near.port()))
    guid = west.accept()["GUID"]
    west.expect_nothing()
    before = gateway.memory()
    sent = fill(client, patience=0.3, limit=64 * MEGABYTE)
    expect_growth_below(gateway, before, MEMORY, sanitized)
    for _ in range(10):
        echo_once(near.port(1))
    received, order = 0, 1
    while received < sent:
        body = west.expect(DATA, GUID=guid, Order=order)
        assert body["Data"] == bytes(len(body["Data"]))
        received += len(body["Data"])
        order += 1
    assert received == sent
    client.sendall(b"more")
    west.expect_data(guid, b"more", order)


def test_a_slow_target_holds_its_initiator_back(programs, world, gateway, server, sanitized):
    """That link waits with all its sessions; the gateway and its other links do not."""
    echo = world.echo_server()
    world.agent(gateway, "far")
    east, other = programs.link(gateway, "east"), programs.link(gateway, "other")
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{echo.port}")
    for peer in (east, other):
        peer.open("s1", "far", server.port if peer is east else echo.port)
        peer.expect_bytes(acknowledge("s1"))
    target = server.accept()
    before = gateway.memory()
    flood = Flood(east, "s1", 96 * MEGABYTE)
    assert flood.wait_stuck() < 64 * MEGABYTE
    expect_growth_below(gateway, before, MEMORY, sanitized)
    for order in range(1, 11):
        echo_once(near.port())
        other.send_message(DATA, GUID="s1", Order=order, Data=b"x" * 1024)
        other.expect_data("s1", b"x" * 1024, order)
    digest, count = hashlib.sha256(), 0
    while count < 96 * MEGABYTE:
        data = target.recv(MEGABYTE)
        assert data, f"the stream ended after {count} bytes"
        digest.update(data)
        count += len(data)
    flood.thread.join(20)
    assert digest.digest() == flood.digest.digest()
    east.expect_nothing()


def test_many_slow_targets_cost_little(programs, world, gateway, server, sanitized):
    world.agent(gateway, "far")
    before = gateway.memory()
    floods = []
    for number in range(6):
        peer = programs.link(gateway, f"east{number}")
        peer.open("s1", "far", server.port)
        peer.expect_bytes(acknowledge("s1"))
        server.accept()
        floods.append(Flood(peer, "s1", 64 * MEGABYTE))
    for flood in floods:
        flood.wait_stuck()
    expect_growth_below(gateway, before, 2 * MEMORY, sanitized)
    programs.link(gateway, "afterwards").expect_nothing()


def test_a_slow_reader_behind_a_python_agent(programs, world, gateway, server):
    """The original stalls with all its sessions: they get no byte, and lose none."""
    python_agent(programs, gateway, "west")
    echo = world.echo_server()
    far = world.agent(gateway, "far")
    near = world.agent(gateway, "near", f"0:west:127.0.0.1:{server.port}",
                       f"0:far:127.0.0.1:{echo.port}")
    client = world.keep(connect(near.port()))
    target = server.accept()
    sent = fill(client, patience=0.3, limit=64 * MEGABYTE)
    for _ in range(10):
        echo_once(near.port(1))
    assert receive_exactly(target, sent) == bytes(sent)
    client.sendall(b"more")
    assert receive_exactly(target, 4) == b"more"
    assert far.is_running()


def test_two_python_agents_with_a_slow_reader(programs, world, gateway, server):
    python_agent(programs, gateway, "west")
    east = python_agent(programs, gateway, "east", f"0:west:127.0.0.1:{server.port}")
    client = world.keep(connect(east.port()))
    target = server.accept()
    sent = fill(client, patience=0.3, limit=64 * MEGABYTE)
    programs.link(gateway, "other").expect_nothing()
    assert receive_exactly(target, sent) == bytes(sent)


def test_a_slow_reader_is_not_taken_for_dead(programs, gateway):
    """Sessions end when an agent does not read, not before: its own end is noticed meanwhile."""
    east, west = programs.link(gateway, "east"), programs.link(gateway, "west")
    east.open("s1", "west", 9)
    west.accept()
    east.expect_bytes(acknowledge("s1"))
    west.expect_nothing()
    flood = Flood(east, "s1", 96 * MEGABYTE)
    flood.wait_stuck()
    west.close()
    east.expect(TERMINATOR, GUID="s1")
    flood.thread.join(20)
    assert not flood.thread.is_alive()
    east.expect_nothing()


def test_an_end_passes_a_session_that_is_held_back(programs, world, gateway, server):
    """A held-back agent's socket ends: the far side is told though nobody reads there."""
    world.agent(gateway, "far")
    east = programs.link(gateway, "east")
    east.open("s1", "far", server.port)
    east.expect_bytes(acknowledge("s1"))
    target = server.accept()
    flood = Flood(east, "s1", 96 * MEGABYTE)
    flood.wait_stuck()
    east.connection.shutdown(socket.SHUT_RDWR)
    expect_gone(target)
    eventually(lambda: not flood.thread.is_alive())
