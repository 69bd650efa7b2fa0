"""Raw agents that are wrong in their messages, and what that may harm: nothing but themselves."""

import random

import msgpack
import pytest

from culvert.peers import echo_bulk, echo_once, receive_exactly
from culvert.process import eventually
from culvert.wire import (ACK, BINARY, CREDIT, DATA, FIN, HANDSHAKE, MESSAGE_PING, MESSAGE_PONG,
                          OPEN, RECEIVED, RESET, Closed, Link, encode, frame)
from culvert.world import MEGABYTE

WINDOW = 256 * 1024
UNSUPPORTED = 13


@pytest.fixture
def echo_server(world):
    return world.echo_server()


@pytest.fixture
def tunnel(world, echo_server):
    """A good tunnel on a gateway of one loop, checked again when the test is over."""
    one = world.tunnel(echo_server.port, threads=1)
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


@pytest.fixture
def rogue(link):
    """An agent that has shaken hands."""
    assert link.shake_hands("rogue")["Ok"] is True
    return link


@pytest.fixture
def stream(rogue, echo_server):
    """A rogue agent with stream 1 open to the echo server, used once."""
    rogue.open(1, "agent2", echo_server.port)
    assert rogue.wait_for(ACK, 1)[1] is True
    rogue.send_message(DATA, [1, b"hello"])
    assert rogue.wait_for(DATA, 1) == [1, b"hello"]
    return rogue


def test_a_raw_agent_works(stream):
    """What the other tests deviate from."""
    stream.send_message(FIN, [1])
    assert stream.wait_for(FIN, 1)[0] == 1


def test_several_messages_in_one(rogue, echo_server):
    rogue.send(encode(OPEN, [1, "tcp", "agent2", "127.0.0.1", echo_server.port, "", {}]) +
               encode(DATA, [1, b"early "]) + encode(DATA, [1, b"data"]) + encode(FIN, [1]))
    assert rogue.wait_for(ACK, 1)[1] is True
    received = b""
    while True:
        kind, body = rogue.receive()
        if kind == DATA:
            received += body[1]
        if kind == FIN:
            break
    assert received == b"early data"


BAD_BYTES = {
    "no-body": b"\x02",
    "truncated-map": b"\x01\x87\xa7Vers",
    "truncated-array": b"\x02\x97\x01\xa3tcp",
    "truncated-data": b"\x03\x92\x01\xc4\x40" + b"x" * 10,
    "map-of-four-billion": b"\x01\xdf\xff\xff\xff\xff",
    "array-of-four-billion": b"\x02\xdd\xff\xff\xff\xff",
    "string-of-four-gigabytes": b"\x01\x81\xdb\xff\xff\xff\xff",
    "bytes-of-four-gigabytes": b"\x03\x92\x01\xc6\xff\xff\xff\xff",
    "extension-of-four-gigabytes": b"\x02\xc9\xff\xff\xff\xff\x01",
    "nested-too-deep": b"\x01" + b"\x91" * 60000 + b"\xc0",
    "nested-too-deep-in-an-unknown-type": b"\x42" + b"\x91" * 60000 + b"\xc0",
    "never-used-byte": b"\x02\xc1",
    "number-for-a-map": b"\x01\x05",
    "map-for-an-array": b"\x03\x81\x01\x02",
    "too-few-items": b"\x03\x91\x01",
    "string-for-an-id": encode(DATA, ["1", b"x"]),
    "negative-id": encode(DATA, [-1, b"x"]),
    "number-for-data": encode(DATA, [1, 5]),
    "large-control": encode(RESET, [1, 1, "x" * 10000]),
    "data-too-large": encode(DATA, [1, b"x" * 70000]),
}


@pytest.mark.parametrize("is_registered", [False, True], ids=["stranger", "agent"])
@pytest.mark.parametrize("data", BAD_BYTES.values(), ids=BAD_BYTES)
def test_bytes_that_are_no_message(link, tunnel, data, is_registered):
    if is_registered:
        assert link.shake_hands("rogue")["Ok"] is True
    before = tunnel.gateway.memory()
    link.send(data)
    assert link.wait_closed() in (None, 1002, 1003, 1007, 1008, 1009)
    assert tunnel.gateway.memory() - before < 4 * MEGABYTE


@pytest.mark.parametrize("kind, body", [
    (OPEN, [1, "tcp", "agent2", "127.0.0.1", 9, "", {}]), (DATA, [1, b"x"]),
    (MESSAGE_PING, [1]), (RECEIVED, [0]), (ACK, [1, True, 0, ""])])
def test_a_first_message_that_is_no_handshake(link, kind, body):
    link.send_message(kind, body)
    link.wait_closed()


HANDSHAKE_FIELDS = {"Version": "1", "Name": "rogue", "Key": "", "Features": [], "Window": WINDOW,
                    "Epoch": 1, "First": 1}


@pytest.mark.parametrize("change", [
    {"Name": ""}, {"Name": "a b"}, {"Name": "x" * 129}, {"Name": "gateway"}, {"Name": "a\0b"},
    {"Name": "ä"}, {"Name": 5}, {"Version": "2"}, {"Version": None}, {"Window": -1},
    {"Window": 2 ** 40}, {"Epoch": 0}, {"First": 7}, {"Key": "x" * 5000}, {"Key": b"\xff"},
    {"Link": bytes(16), "Proof": bytes(32), "Received": 0, "Epoch": 2},
    {"Link": b"short", "Proof": bytes(32), "Received": 0}], ids=str)
def test_a_handshake_that_cannot_be(link, tunnel, change):
    """It is refused with a reason or cut off; a new one under a good name works."""
    link.send(encode(HANDSHAKE, {**HANDSHAKE_FIELDS, **change}))
    try:
        kind, welcome = link.receive()
        assert kind == ACK
        assert welcome["Ok"] is False
        assert welcome["Message"]
        link.wait_closed()
    except Closed:
        pass
    other = Link.connect(tunnel.gateway)
    assert other.shake_hands("rogue")["Ok"] is True
    other.close()


def test_an_empty_frame_means_nothing(rogue):
    rogue.send(b"")
    rogue.send_message(MESSAGE_PING, [1])
    assert rogue.wait_for(MESSAGE_PONG) == [1]


def test_unknown_fields_and_features_are_skipped(link):
    welcome = link.shake_hands("rogue", Features=[f"feature{n}" for n in range(40)],
                               Later={"a": [1, 2]}, Other=None)
    assert welcome["Ok"] is True


def test_unknown_types_are_skipped(stream):
    for kind in (0x20, 0x42, 0x7E, 0xF0):
        stream.send_message(kind, [1, {"x": b"y" * 100}])
    stream.send_message(DATA, [1, b"still"])
    assert stream.wait_for(DATA, 1) == [1, b"still"]


def test_trailing_items_are_skipped(stream):
    stream.send_message(FIN, [1, "later", {"x": 1}])
    assert stream.wait_for(FIN, 1)[0] == 1


PROTOCOL_ERRORS = {
    "handshake-again": (HANDSHAKE, HANDSHAKE_FIELDS),
    "data-for-a-stream-never-opened": (DATA, [99, b"x"]),
    "fin-for-a-stream-never-opened": (FIN, [99]),
    "credit-for-a-stream-never-opened": (CREDIT, [99, 1000]),
    "reset-for-a-stream-never-opened": (RESET, [99, 1, ""]),
    "data-for-a-stream-of-the-gateway": (DATA, [98, b"x"]),
    "ack-for-a-stream-never-opened": (ACK, [98, True, 0, ""]),
    "open-with-the-wrong-parity": (OPEN, [2, "tcp", "agent2", "127.0.0.1", 9, "", {}]),
    "open-with-id-zero": (OPEN, [0, "tcp", "agent2", "127.0.0.1", 9, "", {}]),
    "open-again": (OPEN, [1, "tcp", "agent2", "127.0.0.1", 9, "", {}]),
    "received-more-than-was-sent": (RECEIVED, [10 ** 9]),
}


@pytest.mark.parametrize("kind, body", PROTOCOL_ERRORS.values(), ids=PROTOCOL_ERRORS)
def test_a_protocol_error_cuts_the_link(stream, kind, body):
    stream.send_message(kind, body)
    stream.wait_closed()


def test_frames_that_crossed_a_close_are_ignored(stream, echo_server):
    stream.send_message(RESET, [1, 1, "done"])
    for kind, body in ((DATA, [1, b"late"]), (FIN, [1]), (CREDIT, [1, 10]), (RESET, [1, 1, ""])):
        stream.send_message(kind, body)
    stream.open(3, "agent2", echo_server.port)
    assert stream.wait_for(ACK, 3)[1] is True


def wait_stream_reset(rogue, sid):
    """The stream is reset; one that was not accepted yet is answered with no."""
    while True:
        kind, body = rogue.receive()
        if body[0] == sid and (kind == RESET or (kind == ACK and not body[1])):
            return


def expect_only_stream_reset(rogue, sid, echo_server, next_sid):
    """Stream `sid` is reset, and the link goes on."""
    wait_stream_reset(rogue, sid)
    rogue.open(next_sid, "agent2", echo_server.port)
    assert rogue.wait_for(ACK, next_sid)[1] is True
    rogue.send_message(DATA, [next_sid, b"more"])
    assert rogue.wait_for(DATA, next_sid) == [next_sid, b"more"]


def test_empty_data_resets_the_stream(stream, echo_server):
    stream.send_message(DATA, [1, b""])
    expect_only_stream_reset(stream, 1, echo_server, 3)


@pytest.mark.parametrize("amounts", [[2 ** 31 - 1, 2 ** 31 - 1], [2 ** 31], [0]], ids=str)
def test_credit_that_cannot_be_resets_the_stream(stream, echo_server, amounts):
    """Or cuts the link, where the number itself is none that a message may have."""
    for amount in amounts:
        stream.send_message(CREDIT, [1, amount])
    try:
        expect_only_stream_reset(stream, 1, echo_server, 3)
    except Closed:
        assert len(amounts) == 1


def test_data_after_fin_resets_the_stream(stream, echo_server):
    stream.open(3, "agent2", echo_server.port)
    assert stream.wait_for(ACK, 3)[1] is True
    stream.send(encode(FIN, [3]) + encode(DATA, [3, b"too late"]))
    try:
        while True:
            kind, body = stream.receive()
            assert not (kind == DATA and body[0] == 3), body
            if kind in (RESET, FIN) and body[0] == 3:
                break
    except Closed:
        pass


@pytest.fixture
def sink(world, tunnel):
    """A second raw agent, which accepts streams and never gives credit."""
    link = world.keep(Link.connect(tunnel.gateway))
    assert link.shake_hands("sink", Window=1024)["Ok"] is True
    return link


def open_to_sink(rogue, sink, sid):
    rogue.open(sid, "sink", 9)
    their = sink.wait_for(OPEN)[0]
    sink.send_message(ACK, [their, True, 0, ""])
    assert rogue.wait_for(ACK, sid)[1] is True
    return their


def test_data_beyond_credit_resets_only_that_stream(stream, sink, tunnel, echo_server):
    before = tunnel.gateway.memory()
    open_to_sink(stream, sink, 3)
    piece = b"x" * 65536
    window = stream.welcome["Window"]
    for _ in range(window // len(piece) + 3):
        stream.send_message(DATA, [3, piece])
    stream.wait_for(RESET, 3)
    stream.send_message(DATA, [1, b"still"])
    assert stream.wait_for(DATA, 1) == [1, b"still"]
    expect_only_stream_reset_of_sink(sink)
    assert tunnel.gateway.memory() - before < 16 * MEGABYTE
    echo_once(tunnel.port())


def expect_only_stream_reset_of_sink(sink):
    sink.wait_for(RESET)
    sink.send_message(MESSAGE_PING, [7])
    assert sink.wait_for(MESSAGE_PONG) == [7]


def test_a_receiver_without_credit_gets_no_more(stream, sink):
    """The gateway keeps to the window that the receiving side named."""
    open_to_sink(stream, sink, 3)
    stream.send_message(DATA, [3, b"x" * 65536])
    received = 0
    while received < 1024:
        received += len(sink.wait_for(DATA)[1])
    assert received == 1024
    sink.send_message(MESSAGE_PING, [7])
    while True:
        kind, body = sink.receive()
        assert kind != DATA
        if kind == MESSAGE_PONG:
            break


def test_early_data_is_bounded(stream, sink, echo_server):
    """What follows an open before its ack is at most the early window; more is an error of the
    stream."""
    stream.send(encode(OPEN, [3, "tcp", "sink", "127.0.0.1", 9, "", {}]) +
                b"".join(encode(DATA, [3, b"x" * 65536]) for _ in range(6)))
    expect_only_stream_reset(stream, 3, echo_server, 5)
    assert sink.wait_for(OPEN)[2] == "sink"


def test_the_gateway_says_who_asks_and_keeps_the_key(rogue, sink):
    rogue.send_message(OPEN, [1, "tcp", "sink", "127.0.0.1", 9, "secret",
                              {"source": "somebody", "client": "198.51.100.1:1"}])
    body = sink.wait_for(OPEN)
    assert body[1:5] == ["tcp", "sink", "127.0.0.1", 9]
    assert body[5] == ""
    assert body[6]["source"] == "rogue"


@pytest.mark.parametrize("kind, agent, host, port", [
    ("tcp", "nobody", "127.0.0.1", 9), ("tcp", "", "127.0.0.1", 9), ("tcp", "gateway", "x", 9),
    ("carrier-pigeon", "agent2", "127.0.0.1", 9), ("tcp", "agent2", "", 9),
    ("tcp", "agent2", "127.0.0.1", 0), ("tcp", "agent2", "a b", 9), ("tcp", "agent2", "x\0y", 9),
    ("tcp", "x" * 129, "127.0.0.1", 9), ("tcp", "agent2", "x" * 256, 9),
    ("tcp", "agent2", "127.0.0.1", 70000)])
def test_an_open_that_cannot_be(rogue, tunnel, kind, agent, host, port):
    """It is answered with no and a code, or cuts the link where it breaks a limit."""
    rogue.send_message(OPEN, [1, kind, agent, host, port, "", {}])
    try:
        while True:
            found, body = rogue.receive()
            if found == ACK:
                assert body[1] is False
                assert body[2] == UNSUPPORTED if kind != "tcp" else body[2] > 0
                break
            if found == RESET:
                break
    except Closed:
        pass


def test_an_agent_that_answers_for_streams_of_others(world, stream, sink):
    """An ack or a reset for an id that the gateway did not open there is a protocol error."""
    sink.send_message(ACK, [2, True, 0, ""])
    sink.wait_closed()
    stream.send_message(DATA, [1, b"still"])
    assert stream.wait_for(DATA, 1) == [1, b"still"]


def test_a_flood_of_opens(rogue, tunnel, sanitized):
    """Opens are limited per link; the gateway, the dialling agent and the target live on."""
    before = tunnel.gateway.memory()
    opens = [encode(OPEN, [2 * number + 1, "tcp", "nobody", "127.0.0.1", 9, "", {}])
             for number in range(20_000)]
    try:
        for start in range(0, len(opens), 100):
            rogue.send(b"".join(opens[start:start + 100]))
    except OSError:
        pass
    echo_once(tunnel.port())
    if not sanitized:
        assert tunnel.gateway.memory() - before < 16 * MEGABYTE


def test_a_flood_of_message_pings(rogue, tunnel):
    """At most one pong is pending: a peer that does not read piles nothing up."""
    before = tunnel.gateway.memory()
    piece = b"".join(encode(MESSAGE_PING, [number]) for number in range(1000))
    rogue.connection.settimeout(1.0)
    try:
        for _ in range(300):
            rogue.send(piece)
    except OSError:
        pass
    echo_once(tunnel.port())
    assert tunnel.gateway.memory() - before < 16 * MEGABYTE


def test_an_agent_that_reads_nothing(world, tunnel, rogue, sanitized):
    """It asks for bulk and leaves it in the kernel; the gateway's memory stays bounded."""
    source = world.server(lambda connection: [connection.sendall(bytes(MEGABYTE))
                                              for _ in range(200)])
    before = tunnel.gateway.memory()
    for number in range(8):
        rogue.open(2 * number + 1, "agent2", source.port)
        rogue.send_message(CREDIT, [2 * number + 1, 100 * MEGABYTE])
    eventually(lambda: source.accepted == 8)
    echo_bulk(tunnel.port(), 20 * MEGABYTE)
    if not sanitized:
        assert tunnel.gateway.memory() - before < 48 * MEGABYTE


def test_random_bytes_after_the_handshake(world, tunnel):
    """Valid frames around bytes from a generator with a seed."""
    generator = random.Random(4711)
    for number in range(200):
        link = Link.connect(tunnel.gateway)
        if number % 2:
            link.shake_hands("rogue", Name=f"rogue{number}")
        kind = generator.choice([1, 2, 3, 4, 5, 6, 8, 0x0A, 0x0B, 0x0F, 0xFF])
        body = bytes(generator.randrange(256) for _ in range(generator.randrange(200)))
        link.send_raw(frame(BINARY, bytes([kind]) + body))
        link.close()


def test_values_of_any_kind_in_any_message(world, tunnel):
    """Well-formed msgpack of the wrong shape."""
    values = [None, True, -1, 2 ** 63, 1.5, "text", b"bytes", [], {}, [[]], {"a": {"b": 1}},
              [1, None], [None] * 7, ["1"] * 7, [1, "tcp", None, None, None, None, None],
              msgpack.ExtType(5, b"x")]
    for kind in (1, 2, 3, 4, 5, 6, 8, 9, 0x0A, 0x0B, 0x0F, 0xFF):
        for value in values:
            link = Link.connect(tunnel.gateway)
            link.send(encode(kind, value))
            link.close()
        link = Link.connect(tunnel.gateway)
        link.shake_hands(f"rogue{kind}")
        for value in values:
            try:
                link.send(encode(kind, value))
            except OSError:
                break
        link.close()


def test_the_name_of_a_refused_handshake_is_not_passed_on(link, tunnel):
    """Neither the log nor an event has what the peer wrote, line breaks and all."""
    name = "x\nERROR gateway: agent.registered agent=root"
    assert link.shake_hands(name)["Ok"] is False
    tunnel.gateway.wait_for(r"auth.failed .*agent=\(malformed\)")
    assert "agent=root" not in tunnel.gateway.output()


def test_pings_are_limited(rogue, tunnel):
    """The link of who asks more often than anybody could need ends; fewer are answered."""
    rogue.send(b"".join(encode(MESSAGE_PING, [number]) for number in range(20)))
    rogue.wait_for(MESSAGE_PONG)
    rogue.send(b"".join(encode(MESSAGE_PING, [number]) for number in range(5000)))
    rogue.wait_closed()
    tunnel.gateway.wait_for("agent.unregistered .*agent=rogue .*limit")
