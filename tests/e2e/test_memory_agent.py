"""What other agents make a dialling agent hold, and its --max-memory."""

import socket
import threading

from culvert.process import eventually
from culvert.wire import (ACK, BINARY, CREDIT, DATA, HANDSHAKE, MESSAGE_PING, MESSAGE_PONG, OPEN,
                          RECEIVED, RESET, Closed, Link, answer_upgrade, encode, frame)
from culvert.world import MEGABYTE

LIMIT = 64
BOUND = LIMIT * MEGABYTE * 5 // 4 + 32 * MEGABYTE
STALLED = 128 * 1024
WELCOME = {"Ok": True, "Message": "", "Link": bytes(16), "Secret": bytes(32), "Epoch": 1,
           "First": 1, "Received": 0, "Keepalive": 20, "Resume": 0, "Window": 0}


class Asking(Link):
    """A gateway by raw wire with one dialling agent, for which it plays all agents that ask. It
    gives no credit, so that what targets send waits at the agent, until `take` gives some."""

    def __init__(self, connection):
        super().__init__(connection, b"", "")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.next_sid = 2
        self.accepted = set()
        self.resets = {}
        self.received = {}
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def send(self, payload):
        with self._news:
            self.send_raw(frame(BINARY, payload, masked=False))

    def start(self):
        kind, _ = self.receive()
        assert kind == HANDSHAKE
        self.counted = 0
        self.send_message(ACK, WELCOME)
        self._thread.start()

    def _serve(self):
        try:
            while True:
                self._take_message(*self.receive())
        except (Closed, OSError):
            pass  # the test is over, or notices that nothing comes

    def _take_message(self, kind, body):
        if kind == MESSAGE_PING:
            self.send_message(MESSAGE_PONG, body)
        self.send_message(RECEIVED, [self.counted])
        with self._news:
            if kind == ACK and body[1]:
                self.accepted.add(body[0])
            elif kind == RESET or kind == ACK:
                self.resets[body[0]] = body[1] if kind == RESET else body[2]
            elif kind == DATA:
                self.received[body[0]] = self.received.get(body[0], 0) + len(body[1])
            self._news.notify_all()

    def wait(self, condition, what):
        with self._news:
            assert self._news.wait_for(condition, 60), what

    def ask(self, source, server):
        """A session for the agent `source` to the server. Returns (sid, the server's side)."""
        sid = self.next_sid
        self.next_sid += 2
        self.send_message(OPEN, [sid, "tcp", "far", "127.0.0.1", server.port, "",
                                 {"source": source}])
        self.wait(lambda: sid in self.accepted, f"the session for {source} was not opened")
        return sid, server.accept()

    def take(self, sid, size):
        """Gives credit for so much, and waits for it."""
        end = self.received.get(sid, 0) + size
        self.send_message(CREDIT, [sid, size])
        self.wait(lambda: self.received.get(sid, 0) >= end or sid in self.resets, "no data comes")
        assert sid not in self.resets, f"the session was reset with {self.resets[sid]}"


def ask_far(world):
    """(the agent, the asking side of its link)"""
    gateway = world.server()
    far = world.bare_agent("far", "--url", f"ws://127.0.0.1:{gateway.port}", "--name", "far",
                           "--transport", "websocket", "--max-memory", f"{LIMIT}M")
    connection = gateway.accept()
    answer_upgrade(connection)
    asking = world.keep(Asking(connection))
    asking.start()
    far.wait_registered()
    return far, asking


def test_a_dialling_agent_carries_400_stalled_sessions_of_128_kib(world, sanitized):
    far, asking = ask_far(world)
    server = world.server()
    before = far.memory()
    for _ in range(400):
        _, target = asking.ask("near", server)
        target.sendall(bytes(STALLED))
    if not sanitized:
        held = 400 * STALLED * 9 // 10
        eventually(lambda: far.memory() - before > held, message="the agent does not read on")
        assert far.memory() <= BOUND
    sid, target = asking.ask("other", server)
    target.sendall(bytes(MEGABYTE))
    asking.take(sid, MEGABYTE)
    assert not asking.resets
    assert far.count("memory is at its limit") == 0


def test_an_asking_agent_pays_for_what_it_makes_a_dialling_agent_hold(world, sanitized):
    """700 stalled sessions of one agent hold less each than the one of another, which goes on."""
    far, asking = ask_far(world)
    server = world.server()
    sid, target = asking.ask("innocent", server)
    pouring = threading.Thread(target=target.sendall, args=(bytes(20 * MEGABYTE),), daemon=True)
    pouring.start()
    asking.take(sid, MEGABYTE)
    for _ in range(700):
        _, stalled = asking.ask("evil", server)
        try:
            stalled.sendall(bytes(STALLED))
        except OSError:
            pass  # it has paid already
    far.wait_for("memory is at its limit.*for agent evil")
    if not sanitized:
        assert far.memory() <= BOUND
    for _ in range(19):
        asking.take(sid, MEGABYTE)
    assert set(asking.resets.values()) == {9}
    assert len(asking.resets) < 700 // 2
    assert far.count("memory is at its limit.*for agent innocent") == 0
