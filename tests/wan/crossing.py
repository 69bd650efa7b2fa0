"""A tunnel across a wide-area line, and sessions in it that notice every byte that is missing.

The gateway is far, agent1 and the clients are near, agent2 and the servers are at either end. Of a
session's hops nothing but carriers crosses the line, so that what happens there must not show in
the session.
"""

import hashlib
import json
import os
import shutil
import socket
import statistics
import threading
import time

from culvert.peers import connect
from culvert.process import eventually
from culvert.task import Task

PIECE = 256 * 1024
FRONT_PORT = 7443
PATIENCE = 90.0  # seconds in which a socket of a session may be silent
LINK_LOST = 11  # docs/protocol.md, "Reset codes"
ECHO_PAUSE = 0.005  # from one question to the next


class Bulk:
    """Both ends of one transfer. No two pieces are equal, so that none can stand for another."""

    def __init__(self, size):
        self.size = size
        self.received = 0
        self._sums = [hashlib.sha256(), hashlib.sha256()]
        self._is_over = threading.Event()

    def send(self, connection):
        """All of it and a half-close; then the other end's."""
        connection.settimeout(PATIENCE)
        piece = bytearray(os.urandom(min(PIECE, self.size)))
        for start in range(0, self.size, len(piece)):
            piece[:8] = start.to_bytes(8, "big")
            part = memoryview(piece)[:self.size - start]
            self._sums[0].update(part)
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""

    def receive(self, connection):
        connection.settimeout(PATIENCE)
        space = memoryview(bytearray(PIECE))
        while size := connection.recv_into(space):
            self._sums[1].update(space[:size])
            self.received += size
        connection.shutdown(socket.SHUT_WR)
        self._is_over.set()

    def check(self):
        """What was received is what was sent."""
        assert self._is_over.wait(PATIENCE), f"it ended after {self.received} of {self.size} bytes"
        assert self.received == self.size
        assert self._sums[1].hexdigest() == self._sums[0].hexdigest()


class Echo:
    """A session in which a few bytes go there and back all the time; as with keys that are typed,
    the next do not wait for the last answer."""

    def __init__(self, connection):
        connection.settimeout(PATIENCE)
        self._connection = connection
        self._changed = threading.Condition()
        self._sent = []  # times
        self._trips = []  # (sent, came back)
        self._is_over = threading.Event()
        self._tasks = [Task(self._ask), Task(self._hear)]

    def _ask(self):
        while not self._is_over.wait(ECHO_PAUSE):
            self._sent.append(time.monotonic())
            self._connection.sendall(len(self._sent).to_bytes(8, "big"))
        self._connection.shutdown(socket.SHUT_WR)

    def _hear(self):
        heard = b""
        while piece := self._connection.recv(65536):
            heard += piece
            with self._changed:
                while len(heard) >= 8:
                    assert heard[:8] == (len(self._trips) + 1).to_bytes(8, "big")
                    self._trips.append((self._sent[len(self._trips)], time.monotonic()))
                    heard = heard[8:]
                self._changed.notify_all()

    def flowed_since(self, moment, timeout=40.0):
        """Waits for the answer to something said after `moment`; the seconds from there to it."""
        end = time.monotonic() + timeout
        with self._changed:
            while not self._trips or self._trips[-1][0] < moment:
                for task in self._tasks:
                    if not task.is_running():
                        task.finish(PATIENCE)
                assert time.monotonic() < end, f"nothing flows after {timeout} s"
                self._changed.wait(0.1)
            return next(back for sent, back in self._trips if sent >= moment) - moment

    def trips(self, since=0.0):
        """The seconds that each took that was begun since then."""
        with self._changed:
            return [back - sent for sent, back in self._trips if sent >= since]

    def wait_for_trips(self, since, count):
        eventually(lambda: len(self.trips(since)) >= count, PATIENCE, "the echo stands still")

    def round_trip(self):
        """The median in seconds."""
        return statistics.median(self.trips())

    def finish(self):
        self._is_over.set()
        for task in self._tasks:
            task.finish(PATIENCE)
        assert len(self._trips) == len(self._sent)


class Crossing:
    """The tunnel. The faults hit both agents' carriers where agent2 is `near`; and `has_front`, when
    they come through a TCP proxy before the gateway, on its own machine."""

    def __init__(self, world, area, secure, agent2="far", has_front=False, options=()):
        self.world = world
        self.area = area
        self.service_end = getattr(area, agent2)
        self._options = options
        self.events = world.path(world.unique("events"))
        self._front = None
        self._front_configuration = None
        far = area.far
        tls = {}
        if secure:
            tls = {"secure": True, "certificate": world.authority.issue(
                world.unique("far"), subjects=(f"IP:{far.address}",))}
        self.gateway = world.gateway("--events", self.events, threads=4,
                                     listen=f"{far.address}:0", wrapper=far.wrapper(), **tls)
        port = self.gateway.port
        if has_front:
            self._configure_front()
            self.start_front()
            port = FRONT_PORT
        self.url = f"{'wss' if secure else 'ws'}://{far.address}:{port}"
        world.agent(self.gateway, "agent2", url=self.url, options=options,
                    wrapper=self.service_end.wrapper())
        self.near_agent = None

    def forward(self, *ports):
        """Starts agent1 with a forward to each of these ports beside agent2."""
        rules = [f"127.0.0.1:0:agent2:127.0.0.1:{port}" for port in ports]
        self.near_agent = self.world.agent(self.gateway, "agent1", *rules, url=self.url,
                                           options=self._options,
                                           wrapper=self.area.near.wrapper())

    def serve(self, handler):
        """A server beside agent2; its port."""
        with self.service_end.entered():
            return self.world.server(handler).port

    def connect(self, index):
        """A client's connection to agent1's forward."""
        with self.area.near.entered():
            return self.world.keep(connect(self.near_agent.port(index)))

    def _configure_front(self):
        self._front_configuration = self.world.write(self.world.unique("front.cfg"), f"""
defaults
    mode tcp
    timeout connect 5s
    timeout client 90s
    timeout server 90s
listen culvert
    bind {self.area.far.address}:{FRONT_PORT}
    server gateway {self.area.far.address}:{self.gateway.port}
""")

    def start_front(self):
        """Starts the proxy, from a thread that lives on: it ends with that."""
        with self.area.far.entered():
            self._front = self.world.process(self.world.unique("front"), [
                shutil.which("haproxy", path="/usr/sbin:/usr/bin"), "-db", "-f",
                self._front_configuration])
            eventually(self._front_answers, 10.0, "the proxy does not listen")

    def _front_answers(self):
        assert self._front.is_running(), self._front.output()
        try:
            connect(FRONT_PORT, self.area.far.address, timeout=1).close()
            return True
        except OSError:
            return False

    def stop_front(self):
        """All its connections end and its port is closed."""
        self._front.kill()

    def told(self, event):
        """The gateway's events of this type."""
        with open(self.events, encoding="ascii") as file:
            found = [json.loads(line) for line in file if line.endswith("\n")]
        return [one for one in found if one["event"] == event]

    def check_nobody_registered_anew(self):
        """The agents are who they were: no link ended, and so no session."""
        assert [one["agent"] for one in self.told("agent.registered")] == ["agent2", "agent1"]
        assert self.told("agent.unregistered") == []
        assert all(one["code"] != LINK_LOST for one in self.told("session.closed"))


class Traffic:
    """Three sessions: an echo, and from `begin` on a transfer in each direction."""

    def __init__(self, crossing, size):
        self._crossing = crossing
        self._began = None
        self._tasks = []
        self.up, self.down = Bulk(size), Bulk(size)
        ports = [crossing.serve(handler) for handler in (self.up.receive, self.down.send, answer)]
        crossing.forward(*ports)
        self.echo = Echo(crossing.connect(2))
        self.echo.flowed_since(time.monotonic())

    def begin(self):
        self._began = time.monotonic()
        self._tasks = [Task(self.up.send, self._crossing.connect(0)),
                       Task(self.down.receive, self._crossing.connect(1))]

    def progress(self):
        """The part of both transfers together that has arrived."""
        return (self.up.received + self.down.received) / (self.up.size + self.down.size)

    def wait_for_progress(self, part):
        eventually(lambda: self.progress() >= part, PATIENCE, f"{part} of it did not arrive")

    def finish(self):
        """Everything has arrived, whole and in order; the seconds that it took."""
        for task in self._tasks:
            task.finish(PATIENCE)
        seconds = time.monotonic() - self._began
        self.up.check()
        self.down.check()
        self.echo.finish()
        return seconds


def answer(connection):
    """An echo server's handler that bears long silence."""
    connection.settimeout(PATIENCE)
    while data := connection.recv(65536):
        connection.sendall(data)
