"""What peers make a process hold: an attacker, an innocent beside it, and --max-memory."""

import pytest

from culvert.peers import connect
from culvert.wire import BINARY, DATA, HANDSHAKE, MESSAGE_PING, OPEN, Link, encode, frame
from culvert.world import MEGABYTE

LIMIT = 64
BOUND = LIMIT * MEGABYTE * 5 // 4 + 32 * MEGABYTE
DECLARED = 65000


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

    def __init__(self, port):
        self.client = connect(port)
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


def pouring_tunnel(world, *options):
    server = world.server(pour)
    tunnel = world.tunnel(server.port, threads="1",
                          options=("--max-memory", f"{LIMIT}M", *options))
    download = Download(tunnel.port())
    world.keep(download.client)
    download.take(MEGABYTE)
    return tunnel, download


def assert_memory(process, sanitized):
    if not sanitized:
        memory = process.memory()
        assert memory <= BOUND, f"{memory / MEGABYTE:.0f} MB resident with --max-memory {LIMIT}M"


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
    tunnel, download = pouring_tunnel(world)
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
