"""Raw clients that are wrong below the messages: HTTP, WebSocket frames, floods of connections."""

import contextlib
import resource
import ssl
import time

import pytest

from culvert.peers import connect, echo_bulk, echo_once, expect_gone, in_parallel, receive_exactly
from culvert.process import eventually
from culvert.timing import BUSY, seconds_of
from culvert.wire import (BINARY, CLOSE, CONTINUATION, HANDSHAKE, PING, PONG, TEXT, Closed, Link,
                          encode, frame, upgrade_request)
from culvert.world import MEGABYTE

HANDSHAKE_FIELDS = {"Version": "1", "Name": "rogue", "Key": "", "Features": [], "Window": 262144,
                    "Epoch": 1, "First": 1}


@pytest.fixture
def tunnel(world):
    """A good tunnel on a gateway of one loop, which tells nobody to come back later, checked again
    when the test is over."""
    one = world.tunnel(world.echo_server().port, threads=1,
                       options=("--handshakes-per-second", "0"))
    session = one.connect()
    yield one
    session.sendall(b"an old session")
    assert receive_exactly(session, 14) == b"an old session"
    one.check()
    assert one.gateway.is_running()
    assert one.near.count("^registered as") == one.far.count("^registered as") == 1


@pytest.fixture
def link(world, tunnel):
    """An upgraded connection that has not said who it is."""
    return world.keep(Link.connect(tunnel.gateway))


GARBAGE = {
    "nothing": b"",
    "binary": bytes(range(256)) * 20,
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "tls": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(160),
    "no-version": b"GET /\r\n\r\n",
    "wrong-version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "two-hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "bare-carriage-return": b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
    "nul": b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "folding": b"GET / HTTP/1.1\r\nHost: a\r\n  b\r\n\r\n",
    "space-before-colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "long-line": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "long-head": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    "post": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "smuggling": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                 b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no-websocket-key": upgrade_request().replace(b"Sec-WebSocket-Key", b"X-Key"),
    "short-websocket-key": upgrade_request(key="c2hvcnQ="),
    "old-websocket": upgrade_request().replace(b"Version: 13", b"Version: 8"),
    "other-protocol": upgrade_request(protocol="chat"),
    "no-protocol": upgrade_request().replace(b"Sec-WebSocket-Protocol", b"X-Protocol"),
    "web-page": upgrade_request().replace(b"\r\n\r\n", b"\r\nOrigin: http://localhost\r\n\r\n"),
    "post-upgrade": upgrade_request().replace(b"GET", b"POST"),
    "old-http-upgrade": upgrade_request().replace(b"HTTP/1.1", b"HTTP/1.0"),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_http_garbage(tunnel, garbage):
    """It is answered with an error or with nothing, and the connection ends."""
    with connect(tunnel.gateway.port) as client:
        answer = b""
        try:
            client.sendall(garbage)
            with contextlib.suppress(OSError):  # the gateway may have ended it by now
                client.shutdown(1)
            while data := client.recv(65536):
                answer += data
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:200]


def test_a_head_byte_by_byte(world, tunnel):
    client = world.keep(connect(tunnel.gateway.port))
    for byte in upgrade_request():
        client.sendall(bytes([byte]))
    assert receive_exactly(client, 12) == b"HTTP/1.1 101"


def test_everything_in_one_piece(world, tunnel):
    """The handshake may come with the upgrade, before its answer."""
    client = world.keep(connect(tunnel.gateway.port))
    client.sendall(upgrade_request() + frame(BINARY, encode(HANDSHAKE, HANDSHAKE_FIELDS)))
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(4096)
    welcome = Link(client, head.partition(b"\r\n\r\n")[2], "").receive()[1]
    assert welcome["Ok"] is True


BAD_FRAMES = {
    "unmasked": frame(BINARY, b"hello", masked=False),
    "text": frame(TEXT, b"hello"),
    "reserved-bit": frame(BINARY, b"hello", reserved=4),
    "unknown-opcode": frame(0x3, b"hello"),
    "unknown-control": frame(0xB, b""),
    "continuation-of-nothing": frame(CONTINUATION, b"hello"),
    "a-message-in-a-message": frame(BINARY, b"\x01", fin=False) + frame(BINARY, b"x"),
    "fragmented-ping": frame(PING, b"x", fin=False),
    "long-ping": frame(PING, b"x" * 126),
    "endless-frame": frame(BINARY, b"\x01" * 1000, declared=2 ** 62),
    "negative-frame": frame(BINARY, b"\x01" * 1000, declared=2 ** 64 - 1),
    "large-frame": frame(BINARY, b"\x40" * 1000, declared=64 * MEGABYTE),
    "length-not-minimal": b"\x82\xfe\x00\x05" + bytes(4) + b"hello",
    "long-length-not-minimal": b"\x82\xff" + (300).to_bytes(8, "big") + bytes(4) + bytes(300),
    "close-of-one-byte": frame(CLOSE, b"x"),
}


@pytest.mark.parametrize("is_registered", [False, True], ids=["stranger", "agent"])
@pytest.mark.parametrize("data", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_a_bad_frame_cuts_the_link(link, data, is_registered):
    if is_registered:
        assert link.shake_hands("rogue")["Ok"] is True
    try:
        link.send_raw(data)
    except (ConnectionResetError, BrokenPipeError):
        return
    code = link.wait_closed()
    assert code in (None, 1002, 1003, 1007, 1008, 1009)


def test_an_endless_fragmented_message(link, tunnel):
    """Fragments add up: the message's bound is not per frame."""
    before = tunnel.gateway.memory()
    try:
        link.send_raw(frame(BINARY, b"\x01", fin=False))
        for _ in range(2000):
            link.send_raw(frame(CONTINUATION, b"\x00" * 65536, fin=False))
    except (ConnectionResetError, BrokenPipeError):
        pass
    link.wait_closed()
    assert tunnel.gateway.memory() - before < 16 * MEGABYTE


def test_a_rightly_fragmented_handshake(link):
    """In four frames, byte by byte at the edges, with a ping in between."""
    handshake = encode(HANDSHAKE, HANDSHAKE_FIELDS)
    link.send_raw(frame(BINARY, handshake[:1], fin=False))
    link.send_raw(frame(CONTINUATION, b"", fin=False))
    link.send_raw(frame(PING, b"are you there"))
    link.send_raw(frame(CONTINUATION, handshake[1:20], fin=False))
    link.send_raw(frame(CONTINUATION, handshake[20:]))
    assert link.receive_frame() == (PONG, True, b"are you there")
    kind, welcome = link.receive()
    assert welcome["Ok"] is True


def test_frames_byte_by_byte(link):
    for byte in frame(BINARY, encode(HANDSHAKE, HANDSHAKE_FIELDS)):
        link.send_raw(bytes([byte]))
    assert link.receive()[1]["Ok"] is True


def test_a_close_is_answered(link):
    link.shake_hands("rogue")
    link.send_raw(frame(CLOSE, (1000).to_bytes(2, "big")))
    with pytest.raises(Closed) as closed:
        while True:
            link.receive_frame()
    assert closed.value.code in (None, 1000)


def test_a_flood_of_pings(link, tunnel):
    """They are answered, limited or cut off, and nothing piles up."""
    before = tunnel.gateway.memory()
    link.shake_hands("rogue")
    flood = frame(PING, b"x" * 125) * 1000
    try:
        link.connection.settimeout(1.0)
        for _ in range(200):
            link.send_raw(flood)
    except OSError:
        pass
    echo_bulk(tunnel.port(), MEGABYTE)
    assert tunnel.gateway.memory() - before < 16 * MEGABYTE


def handshaking_connections(gateway, count):
    """Connections that never finish their handshake, each in one of several ways."""
    beginnings = [b"", b"GET / HTTP/1.1\r\n", upgrade_request()[:-2], upgrade_request(),
                  upgrade_request() + frame(BINARY, b"\x01\x87\xa7Version", fin=False)]
    held = []
    for number in range(count):
        client = connect(gateway.port)
        client.sendall(beginnings[number % len(beginnings)])
        held.append(client)
    return held


@pytest.mark.slow
def test_ten_thousand_connections_that_never_finish_their_handshake(world, tunnel, sanitized):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000 if not sanitized else 2000, hard - 1000)
    before = tunnel.gateway.memory()
    held = handshaking_connections(tunnel.gateway, count)
    try:
        tunnel.check()
        other = world.gateway()
        alone = seconds_of(lambda: world.agent(other, "good"))
        assert seconds_of(lambda: world.agent(tunnel.gateway, "good")) < 2.0 + BUSY * alone
        if not sanitized:
            per_connection = (tunnel.gateway.memory() - before) / count
            assert per_connection < 8192, f"{per_connection:.0f} bytes"
        for client in held[::100]:
            expect_gone(client, 90.0)
        eventually(lambda: tunnel.gateway.descriptors() < 200,
                   message="the gateway keeps connections that never shook hands")
    finally:
        for client in held:
            client.close()


@pytest.mark.slow
def test_handshakes_that_trickle_have_a_bound(world, tunnel):
    """A byte now and then does not lengthen the time that a handshake may take."""
    client = world.keep(connect(tunnel.gateway.port))
    request = upgrade_request(target="/" + "a" * 200)
    client.settimeout(0.5)
    start = time.monotonic()
    position = 0
    while time.monotonic() - start < 90.0:
        try:
            client.sendall(request[position:position + 1])
            position += 1
            if not client.recv(1):
                return
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            return
    raise AssertionError("a handshake may trickle for ever")


def test_no_descriptors_left_in_the_gateway(world, tunnel):
    """What is open goes on, nothing spins, and when descriptors come back it goes on as before."""
    session = tunnel.connect()
    session.sendall(b"x")
    receive_exactly(session, 1)
    gateway = tunnel.gateway
    gateway.limit_descriptors(gateway.descriptors() + 5)
    flood = [world.keep(connect(gateway.port)) for _ in range(100)]
    before = gateway.cpu_seconds()
    for _ in range(20):
        session.sendall(b"y")
        assert receive_exactly(session, 1) == b"y"
    tunnel.check()
    session.settimeout(2.0)
    with pytest.raises(TimeoutError):
        session.recv(1)
    assert gateway.cpu_seconds() - before < 0.5
    for client in flood:
        client.close()
    world.agent(gateway, "good").wait_registered()
    tunnel.check()


def test_no_descriptors_left_in_the_dialling_agent(world, tunnel):
    session = tunnel.connect()
    session.sendall(b"x")
    receive_exactly(session, 1)
    tunnel.far.limit_descriptors(tunnel.far.descriptors() + 3)
    clients = []
    resets = 0
    before = tunnel.far.cpu_seconds()
    for _ in range(30):
        try:
            clients.append(world.keep(connect(tunnel.port())))
        except ConnectionResetError:  # so soon that it was not told of the connection
            resets += 1
    assert resets + len(clients) == 30
    for client in clients[-10 + min(resets, 10):] if resets < 10 else []:
        expect_gone(client)
    session.sendall(b"y")
    assert receive_exactly(session, 1) == b"y"
    assert tunnel.far.cpu_seconds() - before < 1.0
    tunnel.far.limit_descriptors(1000)
    for client in clients:
        client.close()


def test_connections_that_come_and_go(tunnel):
    """Thousands that are closed at once leave nothing behind."""
    before = tunnel.gateway.descriptors()

    def visit(number):
        with connect(tunnel.gateway.port) as client:
            client.sendall(upgrade_request()[:number % 200])

    in_parallel(visit, range(3000), workers=20)
    eventually(lambda: tunnel.gateway.descriptors() <= before + 2,
               message="the gateway keeps connections that are gone")


def test_garbage_in_tls(world):
    """The same bad frames reach the gateway through TLS."""
    tunnel = world.tunnel(world.echo_server().port, secure=True, threads=1)
    context = ssl.create_default_context(cafile=tunnel.gateway.authority.certificate)
    for data in BAD_FRAMES.values():
        link = Link.connect(tunnel.gateway, context=context)
        try:
            link.send_raw(data)
            assert link.wait_closed() in (None, 1002, 1003, 1007, 1008, 1009)
        except (ConnectionResetError, BrokenPipeError):
            pass
        link.close()
    echo_once(tunnel.port())
