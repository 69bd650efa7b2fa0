"""Connections to the gateway that are lost while sessions run, and the sessions do not notice."""

import hashlib
import os
import re
import signal
import socket
import threading
import time

import pytest

from culvert.events import wait_for_events
from culvert.peers import (Server, connect, echo_once, expect_gone, expect_reset, free_port,
                           receive_exactly)
from culvert.process import eventually
from culvert.proxies import Splice
from culvert.task import Task
from culvert.timing import BUSY, median, seconds_of
from culvert.world import MEGABYTE, environment, is_sanitized


class CutTunnel:
    """A tunnel whose agents both reach the gateway through forwarders that the test can cut."""

    def __init__(self, world, secure, gateway_options=()):
        self.world = world
        self.server = world.echo_server()
        self.port = free_port()
        self._gateway = {"secure": secure, "listen": f"127.0.0.1:{self.port}",
                         "data": world.path("gateway-data"),
                         "certificate": world.authority.issue(world.unique("server"))}
        self._gateway_options = gateway_options
        self.gateway = self.start_gateway()
        self.near_way = world.proxy(self.gateway.port)
        self.far_way = world.proxy(self.gateway.port)
        scheme = "wss" if secure else "ws"
        self.far = world.agent(self.gateway, "agent2", options=["--transport", "websocket"],
                               url=f"{scheme}://127.0.0.1:{self.far_way.port}")
        self.near = world.agent(self.gateway, "agent1",
                                f"0:agent2:127.0.0.1:{self.server.port}",
                                options=["--transport", "websocket"],
                                url=f"{scheme}://127.0.0.1:{self.near_way.port}")

        world.keep(self)

    def close(self):
        """Ends the agents while they can still say goodbye."""
        agents = [agent for agent in (self.near, self.far) if agent.is_running()]
        for agent in agents:
            agent.ask_to_stop()
        for agent in agents:
            assert agent.wait() == 0

    def start_gateway(self):
        return self.world.gateway(*self._gateway_options, **self._gateway)

    def connect(self):
        client = self.world.keep(connect(self.near.port()))
        client.sendall(b"first")
        assert receive_exactly(client, 5) == b"first"
        return client

    def says(self, client, word):
        client.sendall(word)
        assert receive_exactly(client, len(word)) == word

    def registrations(self):
        return self.near.count("^registered as"), self.far.count("^registered as")


@pytest.fixture
def tunnel(world, secure):
    return CutTunnel(world, secure)


class Transfer:
    """Bytes that an echo server sends back, checked by their sum, while the test does harm. It goes
    on until it is told to end, so that it cannot be over before the harm is done."""

    def __init__(self, port):
        self._client = connect(port, timeout=60.0)
        self._piece = os.urandom(MEGABYTE)
        self._is_enough = threading.Event()
        self._sums = hashlib.sha256(), hashlib.sha256()
        self.received = 0
        self._tasks = [Task(self._send), Task(self._receive)]

    def _send(self):
        while not self._is_enough.is_set():
            self._sums[0].update(self._piece)
            self._client.sendall(self._piece)
        self._client.shutdown(socket.SHUT_WR)

    def _receive(self):
        while data := self._client.recv(MEGABYTE):
            self._sums[1].update(data)
            self.received += len(data)

    def wait_for_progress(self, least):
        """Waits until so many bytes more have come back."""
        since = self.received
        eventually(lambda: self.received >= since + least, message="the transfer stands still")

    def finish(self):
        """All that was sent comes back."""
        self._is_enough.set()
        for task in self._tasks:
            task.finish(60.0)
        self._client.close()
        assert self._sums[1].digest() == self._sums[0].digest()


@pytest.mark.parametrize("how", ["reset", "cut"])
def test_sessions_outlive_their_connection(tunnel, how):
    client = tunnel.connect()
    for number in range(10):
        way = tunnel.near_way if number % 2 else tunnel.far_way
        getattr(way, how)()
        tunnel.says(client, b"word %d" % number)
    assert tunnel.registrations() == (1, 1)
    echo_once(tunnel.near.port())
    for agent in (tunnel.near, tunnel.far):
        eventually(lambda agent=agent: agent.count("resumed the link to") == 5,
                   message="the agent does not tell of each resumption")
        assert agent.count("lost the connection to") == 5


def test_a_transfer_and_an_echo_session_live_through_cuts(tunnel):
    cuts, between = (10, MEGABYTE // 4) if is_sanitized() else (12, 8 * MEGABYTE)
    client = tunnel.connect()
    transfer = Transfer(tunnel.near.port())
    for number in range(cuts):
        transfer.wait_for_progress(between)
        tunnel.near_way.reset()
        tunnel.far_way.reset()
        tunnel.says(client, b"word %d" % number)
    transfer.finish()
    assert tunnel.registrations() == (1, 1)


def test_the_time_from_the_cut_to_flowing(tunnel):
    client = tunnel.connect()
    gaps, sessions = [], []
    for number in range(15):
        tunnel.near_way.reset()
        gaps.append(seconds_of(lambda said=b"word %d" % number: tunnel.says(client, said)))
        sessions.append(seconds_of(lambda: echo_once(tunnel.near.port())))
    if not is_sanitized():
        assert median(gaps) < 0.3 + BUSY * median(sessions), (gaps, sessions)


def test_a_connection_that_falls_silent(world):
    """The agent finds out by itself, and the gateway takes the new connection for the old."""
    tunnel = CutTunnel(world, False)
    client = tunnel.connect()
    for silent in tunnel.near_way.half_open():
        world.keep(silent)
    tunnel.says(client, b"still there")
    assert tunnel.registrations() == (1, 1)


def test_a_gateway_that_stands_still_for_a_while(world):
    tunnel = CutTunnel(world, False)
    client = tunnel.connect()
    tunnel.gateway.signal(signal.SIGSTOP)
    client.sendall(b"into the silence")
    tunnel.near.wait_for("lost the connection.*silent", stream="err")
    tunnel.gateway.signal(signal.SIGCONT)
    assert receive_exactly(client, 16) == b"into the silence"
    assert tunnel.registrations()[0] == 1


def test_connections_made_meanwhile_wait(tunnel):
    client = tunnel.connect()
    port = tunnel.near_way.port
    since = tunnel.near.mark()
    tunnel.near_way.close()
    tunnel.near.wait_for("lost the connection", since=since, stream="err")
    waiting = [tunnel.world.keep(connect(tunnel.near.port())) for _ in range(5)]
    for number, one in enumerate(waiting):
        one.sendall(b"%04d" % number)
    tunnel.world.proxy(tunnel.gateway.port, own_port=port)
    for number, one in enumerate(waiting):
        assert receive_exactly(one, 4) == b"%04d" % number
    tunnel.says(client, b"and the old one")
    assert tunnel.registrations() == (1, 1)


def test_a_gateway_that_was_killed_knows_no_links(tunnel):
    client = tunnel.connect()
    marks = [(agent, agent.mark()) for agent in (tunnel.near, tunnel.far)]
    tunnel.gateway.kill()
    tunnel.near.wait_for("lost the connection", since=marks[0][1], stream="err")
    tunnel.gateway = tunnel.start_gateway()
    for agent, since in marks:
        agent.wait_registered(since=since)
    expect_reset(client)
    echo_once(tunnel.near.port())
    tunnel.near.wait_for("cannot be resumed at .*not known", stream="err")


def test_a_gateway_that_ends_resets_sessions_at_once(world):
    tunnel = CutTunnel(world, False)
    client = tunnel.connect()
    marks = [(agent, agent.mark()) for agent in (tunnel.near, tunnel.far)]
    assert tunnel.gateway.stop() == 0
    expect_gone(client)
    tunnel.gateway = tunnel.start_gateway()
    for agent, since in marks:
        agent.wait_registered(since=since)
    echo_once(tunnel.near.port())


def test_a_window_that_passes(world):
    tunnel = CutTunnel(world, False, ["--resume-window", "1"])
    client = tunnel.connect()
    port = tunnel.near_way.port
    since = tunnel.near.mark()
    tunnel.near_way.close()
    expect_reset(client)
    tunnel.near.wait_for("gave up the link to .*in time", since=since, stream="err")
    world.proxy(tunnel.gateway.port, own_port=port)
    tunnel.near.wait_registered(since=since)
    echo_once(tunnel.near.port())


def test_a_gateway_without_a_window(world):
    tunnel = CutTunnel(world, False, ["--resume-window", "0"])
    client = tunnel.connect()
    since = tunnel.near.mark()
    tunnel.near_way.reset()
    expect_reset(client)
    tunnel.near.wait_registered(since=since)
    tunnel.near.wait_for("lost the link to", since=since, stream="err")
    echo_once(tunnel.near.port())


def test_a_key_that_is_revoked_meanwhile(world):
    """The link is not resumed, and the agent keeps asking."""
    server = world.echo_server()
    gateway = world.gateway(is_open=False)
    way = world.proxy(gateway.port)
    world.agent(gateway, "agent2", key=gateway.add_key("agent2"))
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{server.port}",
                       key=gateway.add_key("agent1"), url=f"ws://127.0.0.1:{way.port}")
    client = world.keep(connect(near.port()))
    client.sendall(b"x")
    receive_exactly(client, 1)
    port = way.port
    since = near.mark()
    way.close()
    near.wait_for("lost the connection", since=since, stream="err")
    assert gateway.key("revoke", "agent1").returncode == 0
    world.proxy(gateway.port, own_port=port)
    near.wait_for("refused|not known", since=since, stream="err")
    expect_reset(client)
    assert near.is_running()
    assert near.count("^registered as") == 1


def test_an_agent_that_stops_while_its_link_is_away(world):
    tunnel = CutTunnel(world, False)
    tunnel.connect()
    tunnel.near_way.close()
    tunnel.near.wait_for("lost the connection", stream="err")
    assert tunnel.near.stop() == 0


def test_the_event_says_for_how_long_nothing_was_heard(world):
    """The gateway still has the old connection, which has been silent since it was cut elsewhere."""
    events = world.path("events")
    gateway = world.gateway("--events", events)
    proxy = world.proxy(gateway.port)
    agent = world.agent(gateway, "a", url=f"ws://127.0.0.1:{proxy.port}")
    start = time.monotonic()
    silent = [world.keep(one) for one in proxy.half_open()]
    proxy.close()
    eventually(lambda: agent.count("cannot resume the link") >= 2, 30.0, "the agent is still there")
    gap = time.monotonic() - start
    world.proxy(gateway.port, own_port=proxy.port)
    resumed, = wait_for_events(events, "link.resumed", agent="a")
    assert resumed["seconds"] >= gap
    assert silent


def test_a_try_outlives_the_link_that_it_is_for(world):
    """The resume window ends while a proxy keeps the agent waiting: the request still names the link,
    from a copy of its name."""
    gateway = world.gateway("--resume-window", "1")
    proxy = world.keep(Server())
    agent = world.agent(None, "near", wait=False, url=f"ws://127.0.0.1:{gateway.port}",
                        options=("--transport", "websocket",
                                 "--proxy", f"http://127.0.0.1:{proxy.port}"),
                        env=environment(MALLOC_PERTURB_="165"))
    first = proxy.accept()
    way = world.keep(connect(gateway.port))
    tunnel = Splice(first, way)
    agent.wait_registered()
    tunnel.cut()
    second = proxy.accept()
    agent.wait_for("not be resumed in time")
    second.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head.partition(b"GET ")[2]:
        data = second.recv(4096)
        assert data, head
        head += data
    name = re.search(rb"Culvert-Link: (\w+)", head)
    assert name and name[1] != b"a5" * 16
