"""What peers make a process hold: an attacker, an innocent beside it, and --max-memory."""

import contextlib
import re
import ssl
import threading
import time

import pytest

from culvert.peers import connect, receive_exactly
from culvert.process import eventually
from culvert.wire import (ACK, BINARY, CREDIT, DATA, HANDSHAKE, MESSAGE_PING, MESSAGE_PONG, OPEN,
                          RECEIVED, RESET, Closed, Link, encode, frame)
from culvert.world import MEGABYTE

LIMIT = 64
BOUND = LIMIT * MEGABYTE * 5 // 4 + 32 * MEGABYTE
DECLARED = 65000
NO_MEMORY = 9  # the code


def data_head(sid):
    """The beginning of a data message of DECLARED bytes."""
    message = encode(DATA, [sid, bytes(DECLARED)])
    return message[:-DECLARED]


def begin_data(link, sid):
    """Declares a data message in a frame of its own; its payload is for the caller to send."""
    head = data_head(sid)
    link.send_raw(frame(BINARY, head, declared=len(head) + DECLARED))


class Download:
    """An innocent session through `tunnel` whose far end sends without end."""

    def __init__(self, world, port):
        self.client = world.keep(connect(port))
        self.received = 0

    def take(self, size):
        """Reads so much; fails if the session has ended."""
        end = self.received + size
        while self.received < end:
            data = self.client.recv(256 * 1024)
            assert data, f"the innocent session ended after {self.received} bytes"
            self.received += len(data)


def pour(connection):
    """A handler that sends until the other side has gone."""
    block = bytes(64 * 1024)
    try:
        while True:
            connection.sendall(block)
    except OSError:
        pass


def pouring_tunnel(world, threads="1"):
    server = world.server(pour)
    return world.tunnel(server.port, threads=threads, options=("--max-memory", f"{LIMIT}M"))


def assert_memory(process, sanitized):
    if not sanitized:
        memory = process.memory()
        assert memory <= BOUND, f"{memory / MEGABYTE:.0f} MB resident with --max-memory {LIMIT}M"


def test_strangers_in_a_handshake_of_tls_end_no_session(world):
    """1,100 connections that begin a handshake and say no more, where TLS for so many takes more than
    --max-memory."""
    server = world.server(pour)
    tunnel = world.tunnel(server.port, threads="2", secure=True, options=("--max-memory", "16M"))
    download = Download(world, tunnel.port())
    download.take(MEGABYTE)
    for _ in range(1100):
        stranger = world.keep(connect(tunnel.gateway.port))
        with contextlib.suppress(OSError):  # the gateway may have ended it
            stranger.sendall(bytes.fromhex("1603010200010001fc0303"))
    for _ in range(20):
        download.take(MEGABYTE)
    assert tunnel.gateway.count("memory is at its limit") == 0
    Download(world, tunnel.port()).take(MEGABYTE)


def keep_up(links):
    """Lets the gateway hear of each, so that it takes none for dead."""
    for link in links:
        with contextlib.suppress(OSError):  # it may have paid
            link.send_message(MESSAGE_PING, [0])


def test_idle_links_of_tls_pay_before_a_session(world, authority):
    """1,100 agents of one network that do nothing, where TLS for so many takes more than
    --max-memory."""
    server = world.server(pour)
    tunnel = world.tunnel(server.port, threads="2", secure=True,
                          options=("--max-memory", "16M", "--trusted-proxy", "127.0.0.1"))
    download = Download(world, tunnel.port())
    download.take(MEGABYTE)
    heard = time.monotonic()
    context = ssl.create_default_context(cafile=authority.certificate)
    links = []
    for number in range(1100):
        link = world.keep(Link.connect(tunnel.gateway, context,
                                       opening=[b"PROXY TCP4 10.0.0.9 127.0.0.1 1 2\r\n"]))
        links.append(link)
        with contextlib.suppress(Closed, OSError):  # it may be the one that pays
            link.shake_hands(f"idle{number}")
        if time.monotonic() - heard > 5.0:
            heard = time.monotonic()
            keep_up(links)
    for _ in range(20):
        download.take(MEGABYTE)
    tunnel.gateway.wait_for("memory is at its limit.*the link of agent idle")
    assert tunnel.gateway.count("memory is at its limit.*agent agent") == 0


@pytest.mark.parametrize("kind", [DATA, OPEN, MESSAGE_PING, 0x07, 0x7E])
def test_before_a_login_all_but_a_handshake_is_refused_at_its_first_byte(world, kind):
    gateway = world.gateway()
    link = world.keep(Link.connect(gateway))
    link.send_raw(frame(BINARY, bytes([kind]), declared=DECLARED))
    assert link.wait_closed() == 1002


def test_a_handshake_may_still_come_in_pieces(world):
    gateway = world.gateway()
    message = encode(HANDSHAKE, {"Version": "1", "Name": "slow", "Key": "", "Features": [],
                                 "Window": 256 * 1024, "Epoch": 1, "First": 1})
    link = world.keep(Link.connect(gateway))
    for byte in frame(BINARY, message):
        link.send_raw(bytes([byte]))
    assert link.receive()[1]["Ok"] is True


def test_messages_that_trickle_in_pin_no_chunks(world, sanitized):
    """Each byte comes in a chunk of 512 KiB that an innocent's bytes have filled."""
    tunnel = pouring_tunnel(world)
    download = Download(world, tunnel.port())
    download.take(MEGABYTE)
    links = []
    for number in range(2):
        link = world.keep(Link.connect(tunnel.gateway))
        assert link.shake_hands(f"evil{number}")["Ok"] is True
        link.open(1, f"evil{number}", 9)
        begin_data(link, 1)
        links.append(link)
    for _ in range(1500):
        for link in links:
            link.send_raw(b"q")
        download.take(512 * 1024)
        assert_memory(tunnel.gateway, sanitized)
    download.take(MEGABYTE)
    assert tunnel.gateway.count("memory is at its limit") == 0


class Source:
    """An agent by raw wire that fills the gateway with data for others, as their credit allows."""

    def __init__(self, world, gateway, name, key=""):
        self.link = world.keep(Link.connect(gateway))
        assert self.link.shake_hands(name, key)["Ok"] is True
        self.next_sid = 1

    def open(self, peer):
        """A session to a peer by raw wire, who accepts it."""
        sid = self.next_sid
        self.next_sid += 2
        self.link.open(sid, peer.name, 9)
        theirs = peer.link.wait_for(OPEN)[0]
        peer.link.send_message(ACK, [theirs, True, 0, ""])
        assert self.link.wait_for(ACK, sid)[1] is True
        return sid

    def pour(self, sid, size, credit=256 * 1024, piece=60_000):
        """Sends `size` bytes. Returns False if the session ends meanwhile."""
        while size > 0:
            while credit >= piece and size > 0:
                self.link.send_message(DATA, [sid, bytes(piece)])
                credit -= piece
                size -= piece
            if size > 0:
                kind, body = self.link.receive()
                if kind == RESET and body[0] == sid:
                    return False
                if kind == CREDIT and body[0] == sid:
                    credit += body[1]
        return True


class Sink:
    """An agent by raw wire that takes all and acknowledges nothing."""

    def __init__(self, world, gateway, name, window=2 ** 30, key=""):
        self.name = name
        self.stop = threading.Event()
        self.link = world.keep(Link.connect(gateway))
        assert self.link.shake_hands(name, key, Window=window)["Ok"] is True

    def drain(self):
        """Reads all that comes until there is nothing for a moment after `stop`."""
        self.link.connection.settimeout(0.05)
        while True:
            try:
                if not self.link.connection.recv(1 << 20):
                    return
            except TimeoutError:
                if self.stop.is_set():
                    return
            except OSError:
                return


@pytest.mark.parametrize("threads", ["1", "3"])
def test_agents_that_acknowledge_nothing_pay_for_it(world, sanitized, threads):
    """17 of them have 4 MB each kept for them, which is more than the limit; an innocent's sessions
    go on."""
    tunnel = pouring_tunnel(world, threads=threads)
    source = Source(world, tunnel.gateway, "source")
    for number in range(17):
        sink = Sink(world, tunnel.gateway, f"sink{number}")
        sid = source.open(sink)
        reader = threading.Thread(target=sink.drain)
        reader.start()
        source.pour(sid, 4_100_000)
        sink.stop.set()
        reader.join()
    for _ in range(5):
        download = Download(world, tunnel.port())
        download.take(30 * MEGABYTE)
        download.client.close()
        assert_memory(tunnel.gateway, sanitized)
    tunnel.gateway.wait_for("memory is at its limit.*agent sink")
    assert tunnel.gateway.count("memory is at its limit.*agent agent") == 0


def test_many_small_agents_of_one_owner_pay_together(world, sanitized):
    """60 agents of one owner hold 1.2 MB each, an innocent's 8 slow downloads more than each. They
    begin when no window grows any more, so that they hold what 8 windows are."""
    gateway = world.gateway("--max-memory", f"{LIMIT}M", is_open=False, threads="2")
    server = world.server(pour)

    def key(name, owner):
        return re.search(r"cvk_\S+", gateway.key("add", name, "--user", owner).stdout)[0]

    def fill(numbers):
        name = f"source{numbers[0]}"  # while memory is at its limit one opens few sessions
        source = Source(world, gateway, name, key(name, "mallory"))
        for number in numbers:
            name = f"small{number}"
            sink = Sink(world, gateway, name, window=0, key=key(name, "mallory"))
            for _ in range(5):
                source.pour(source.open(sink), 240_000)
        source.open(sink)  # what was poured before has arrived

    world.agent(gateway, "far", key=key("far", "ann"))
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{server.port}", key=key("near", "ann"))
    fill(range(45))
    downloads = [Download(world, near.port()) for _ in range(8)]
    for download in downloads:
        download.take(MEGABYTE)
    fill(range(45, 60))
    assert_memory(gateway, sanitized)
    for download in downloads:
        download.take(20 * MEGABYTE)
    gateway.wait_for("memory is at its limit.*agent small")
    assert gateway.count("memory is at its limit.*agent (near|far)") == 0


STALLED = 128 * 1024
SLACK = 4 * MEGABYTE


def stall(world, port, count):
    """Sessions to a server that reads nothing, which have sent STALLED bytes each, in turns."""
    clients = [world.keep(connect(port)) for _ in range(count)]
    piece = bytes(16 * 1024)
    for _ in range(STALLED // len(piece)):
        for client in clients:
            client.sendall(piece)
    return clients


def unmasked(payload):
    """A client's frame whose mask is zero, which costs the test nothing."""
    return b"\x82\xff" + len(payload).to_bytes(8) + bytes(4) + payload


def test_400_stalled_sessions_of_128_kib_fit_into_64_mib(world, sanitized):
    """Each piece comes in a chunk of which other messages, long done, have used the rest."""
    gateway = world.gateway("--max-memory", f"{LIMIT}M", threads="1")
    source = Source(world, gateway, "source")
    sink = Sink(world, gateway, "sink", window=0)
    sids = [source.open(sink) for _ in range(400)]
    piece = bytes(16 * 1024)
    skipped = encode(0x7E, [bytes(4000)]) * 32
    for _ in range(STALLED // len(piece)):
        for sid in sids:
            source.link.send_raw(unmasked(encode(DATA, [sid, piece]) + skipped))
    source.open(sink)
    assert_memory(gateway, sanitized)
    assert gateway.count("memory is at its limit") == 0


@pytest.mark.once
def test_questions_with_early_bytes_in_pieces_hold_little_more_than_these(world):
    """What follows an open while a script thinks, 16 KiB in messages of a byte: as many slices
    would take 24 times as much, 60 MB."""
    script = world.write("thinks.lua", "function connect(request) while true do end end")
    gateway = world.gateway("--auth-lua", script, "--auth-timeout", "600", "--lua-workers", "1",
                            "--max-memory", f"{LIMIT}M", policy=None, threads="1")
    link = world.keep(Link.connect(gateway))
    assert link.shake_hands("evil")["Ok"] is True
    before = gateway.memory()
    for number in range(150):
        sid = 1 + 2 * number
        link.open(sid, "evil", 9)
        link.send_raw(unmasked(encode(DATA, [sid, b"q"]) * 16384))
    link.send_message(MESSAGE_PING, [1])
    link.wait_for(MESSAGE_PONG, 1)
    eventually(lambda: gateway.memory() - before < 24 * MEGABYTE, 30.0, "slices stay apart")
    assert gateway.count("memory is at its limit|session.refused|link.lost") == 0


@pytest.mark.once
def test_sessions_that_carry_nothing_count(world, sanitized):
    """One agent opens 50,000 sessions to another that answers none: records of 1.6 KB each."""
    limit = 16
    tunnel = world.tunnel(world.echo_server().port, threads=1,
                          options=("--max-memory", f"{limit}M"))
    innocent = world.keep(tunnel.connect())
    source, sink = (world.keep(Link.connect(tunnel.gateway)) for _ in range(2))
    assert source.shake_hands("source")["Ok"] and sink.shake_hands("sink")["Ok"]
    threading.Thread(target=acknowledge, args=(sink,), daemon=True).start()
    codes = set()
    for first in range(1, 100_000, 1000):
        last = first + 998
        source.send(b"".join(
            encode(OPEN, [sid, "tcp", "sink" if sid < last else "nobody", "127.0.0.1", 1, "", {}])
            for sid in range(first, first + 1000, 2)))
        answered = 0
        while answered != last:
            kind, body = source.receive()
            source.send_message(RECEIVED, [source.counted])
            if kind == ACK:
                answered, _, code, _ = body
                codes.add(code)
        innocent.sendall(b"still here")
        assert receive_exactly(innocent, 10) == b"still here"
    assert NO_MEMORY in codes
    bound = (limit * 5 // 4 + 32) * MEGABYTE
    assert sanitized or tunnel.gateway.memory() <= bound, tunnel.gateway.memory()
    tunnel.check()
    assert tunnel.gateway.count("agent.unregistered") == 0


def acknowledge(link):
    """Takes all that comes, and acknowledges it: else the link itself pays in two seconds."""
    try:
        while True:
            link.receive()
            link.send_message(RECEIVED, [link.counted])
    except (Closed, OSError):
        pass  # the test is over


@pytest.mark.once
def test_memory_goes_back_to_the_system(world):
    server = world.server(receive_buffer=4096)
    tunnel = world.tunnel(server.port)
    ended = 0

    def burst(count):
        nonlocal ended
        clients = stall(world, tunnel.port(), count)
        for client in clients:
            client.close()
        for _ in clients:
            target = server.accept()
            receive_exactly(target, STALLED)
            target.close()
        ended += count
        eventually(lambda: tunnel.gateway.count("session.closed") == ended, 30.0, "sessions stay")

    burst(20)
    processes = tunnel.processes()
    before = [process.memory() for process in processes]
    burst(1000)
    for process, size in zip(processes, before):
        bound = size * 3 // 2 + SLACK
        eventually(lambda process=process, bound=bound: process.memory() <= bound, 30.0,
                   f"{process.name} had {size} bytes before the burst and is not back at that")
