"""Acceptance cases 1 to 17 of the specification: what a proxy does.

The independent proxy is held to them like culvert's, so that a wrong test shows itself.
"""

import msgpack
import pytest

from culvert.wire import BINARY, CONTINUATION, TEXT
from hubble.by_hand import dial
from hubble.messages import (ACK, CONNECTION_CLOSED, DATA, HANDSHAKE, TERMINATOR, acknowledge,
                             encode)
from programs import PROXIES
from test_interop_messages import EXAMPLES

HELLO, ACCEPTED, OPEN = (bytes.fromhex(EXAMPLES[name][0])
                         for name in ("handshake", "accepted", "initiator"))
ACCEPT = acknowledge("s1")


@pytest.fixture(params=PROXIES)
def kind(request):
    return request.param


@pytest.fixture
def proxy(programs, kind):
    """Grants everything, and still serves agents when the test is over."""
    one = programs.proxy(kind)
    yield one
    programs.link(one, "afterwards").expect_nothing()


@pytest.fixture
def pair(programs, proxy):
    """Agents east and west with the open session s1 between them."""
    east, west = programs.link(proxy, "east"), programs.link(proxy, "west")
    east.send(OPEN)
    west.expect_bytes(OPEN)
    west.send(ACCEPT)
    east.expect_bytes(ACCEPT)
    return east, west


def test_1_the_handshake_is_acknowledged_byte_for_byte(world, proxy):
    peer = world.keep(dial(proxy.port, "/x/y?z"))
    peer.send(HELLO)
    peer.expect_bytes(ACCEPTED)


def test_2_another_version_is_refused(world, proxy):
    peer = world.keep(dial(proxy.port))
    peer.send_message(HANDSHAKE, Version="0.2", Name="east")
    peer.expect_bytes(acknowledge(error="Invalid protocol version"))
    peer.expect_end()


def test_3_another_first_message_ends_the_connection(world, proxy):
    peer = world.keep(dial(proxy.port))
    peer.send(OPEN)
    peer.expect_end()


def test_4_a_text_message_with_valid_bytes_ends_the_connection(world, proxy):
    peer = world.keep(dial(proxy.port))
    peer.send_frame(TEXT, HELLO)
    peer.expect_end()


def test_5_a_handshake_in_two_frames_with_bytes_behind_it(world, proxy):
    peer = world.keep(dial(proxy.port))
    peer.send_frame(BINARY, HELLO[:9], fin=False)
    peer.send_frame(CONTINUATION, HELLO[9:] + b"7 bytes")
    peer.expect_bytes(ACCEPTED)


def test_6_modern_strings_and_an_unknown_key(world, proxy):
    peer = world.keep(dial(proxy.port))
    modern = {b"Name": "e" * 40, "Extra": [{"a": msgpack.ExtType(5, b"x")}, 1.5, None],
              "Version": b"0.1", "Key": None}
    peer.send(b"\x01" + msgpack.packb(modern, use_bin_type=True))
    peer.expect_bytes(ACCEPTED)


@pytest.mark.parametrize("order", ["array", "nil key"])
def test_6_other_forms_of_a_handshake(world, proxy, order):
    peer = world.keep(dial(proxy.port))
    body = ["0.1", "east", ""] if order == "array" else {"Version": "0.1", "Name": "east"}
    peer.send(b"\x01" + msgpack.packb(body))
    peer.expect_bytes(ACCEPTED)


def test_7_and_8_an_open_and_its_ack_are_passed_on(pair):
    east, west = pair
    east.expect_nothing()
    west.expect_nothing()


def test_9_data_of_a_full_buffer(pair):
    east, west = pair
    data = bytes(range(256)) * 4
    message = encode(DATA, GUID="s1", Order=1, Data=data)
    east.send(message)
    west.expect_bytes(message)


def test_9_a_message_in_many_frames(pair):
    """As the original proxy cuts it: another proxy may stand in front."""
    east, west = pair
    message = encode(DATA, GUID="s1", Order=1, Data=bytes(range(256)) * 8)
    east.send_pieces(message, 1024, 1024, 1024)
    assert west.expect_data("s1", bytes(range(256)) * 8) >= 2


def test_10_modern_data_is_written_the_old_way(pair):
    east, west = pair
    east.send(b"\x03\x83\xd9\x04GUID\xc4\x02s1\xa5Order\xd3" + (1).to_bytes(8, "big") +
              b"\xa4Data\xc4\x28" + b"\xff" * 40)
    west.expect_bytes(encode(DATA, GUID="s1", Order=1, Data=b"\xff" * 40))


def test_10_data_as_an_array_of_numbers(pair):
    east, west = pair
    east.send(b"\x03\x93\xa2s1\x01\x93\x00\xcc\xff\xd0\x07")
    west.expect_bytes(encode(DATA, GUID="s1", Order=1, Data=b"\x00\xff\x07"))


def test_data_goes_both_ways_in_order(pair):
    east, west = pair
    there = east.send_data("s1", b"there" * 1000)
    back = west.send_data("s1", b"back" * 1000)
    assert (there, back) == (6, 5)
    west.expect_data("s1", b"there" * 1000)
    east.expect_data("s1", b"back" * 1000)


def test_11_an_end_is_told_to_both(pair):
    east, west = pair
    east.send_message(CONNECTION_CLOSED, GUID="s1")
    west.expect(TERMINATOR, GUID="s1")
    east.expect(TERMINATOR, GUID="s1")
    west.send_message(CONNECTION_CLOSED, GUID="s1")
    east.expect(TERMINATOR, GUID="s1")
    west.expect_nothing()
    east.expect_nothing()


def test_11_an_end_comes_behind_the_data_before_it(pair):
    east, west = pair
    order = east.send_data("s1", bytes(200000))
    east.send_message(DATA, GUID="s1", Order=order, Data=b"")
    east.send_message(CONNECTION_CLOSED, GUID="s1")
    order = west.expect_data("s1", bytes(200000))
    kind, body = west.receive()
    if kind == DATA:
        assert (body["Order"], body["Data"]) == (order, b"")
        kind, body = west.receive()
    assert (kind, body) == (TERMINATOR, {"GUID": "s1"})


def test_12_a_terminator_of_an_agent_is_ignored(pair):
    east, west = pair
    east.send_message(TERMINATOR, GUID="s1")
    west.send_message(TERMINATOR, GUID="s1")
    east.send_data("s1", b"still here")
    west.expect_data("s1", b"still here")
    west.send_data("s1", b"here too")
    east.expect_data("s1", b"here too")


def test_a_second_handshake_is_ignored(pair):
    east, west = pair
    east.send(HELLO)
    east.send_data("s1", b"still here")
    west.expect_data("s1", b"still here")
    east.expect_nothing()


def test_13_an_unknown_name(programs, proxy):
    east = programs.link(proxy, "east")
    east.open("s1", "nobody", 22)
    east.expect_bytes(acknowledge("s1", "Gateway not registered"))


@pytest.mark.parametrize("policy,answer", [("deny", "Unauthorized"),
                                           ("fail", "Authorization error.")],
                         ids=["14", "15"])
def test_a_refusal_comes_before_the_name_is_looked_up(programs, kind, policy, answer):
    proxy = programs.proxy(kind, policy)
    east = programs.link(proxy, "east")
    programs.link(proxy, "west")
    for guid, name in (("s1", "nobody"), ("s2", "west")):
        east.open(guid, name, 22)
        east.expect_bytes(acknowledge(guid, answer))
    east.expect_nothing()


def test_16_the_end_of_a_connection_ends_its_sessions(pair):
    east, west = pair
    west.close()
    east.expect(TERMINATOR, GUID="s1")
    east.expect_nothing()


def test_16_a_name_is_free_when_its_connection_has_ended(programs, proxy, pair):
    east, west = pair
    west.close()
    east.expect(TERMINATOR, GUID="s1")
    again = programs.link(proxy, "west")
    east.open("s2", "west", 22)
    assert again.accept()["GUID"] == "s2"
    east.expect_bytes(acknowledge("s2"))


def test_17_an_unknown_type_ends_only_its_own_connection(programs, proxy, pair):
    east, west = pair
    other = programs.link(proxy, "other")
    other.send(b"\x09\x80")
    other.expect_end()
    east.send_data("s1", b"still here")
    west.expect_data("s1", b"still here")


def test_a_responders_refusal_is_passed_on(programs, proxy):
    east, west = programs.link(proxy, "east"), programs.link(proxy, "west")
    east.send(OPEN)
    west.expect_bytes(OPEN)
    refusal = acknowledge("s1", "dial tcp 127.0.0.1:1: connect: connection refused")
    west.send(refusal)
    kind, body = east.receive()
    assert (kind, body["GUID"], body["Ok"]) == (ACK, "s1", False)
    assert "connection refused" in body["Message"]


def test_messages_for_unknown_sessions_are_ignored(programs, proxy):
    east = programs.link(proxy, "east")
    for guid in ("", "s9", "x" * 255):
        east.send_message(DATA, GUID=guid, Order=1, Data=b"x")
        east.send_message(CONNECTION_CLOSED, GUID=guid)
        east.send(acknowledge(guid))
        east.send(acknowledge(guid, "no"))
    east.expect_nothing()


def test_a_session_to_an_address_with_every_field(programs, proxy):
    """Texts at their limits arrive as they were sent."""
    east, west = programs.link(proxy, "east"), programs.link(proxy, "w" * 100)
    east.open("g" * 255, "w" * 100, 65535, "h" * 63 + ".example", "k" * 250)
    body = west.accept()
    assert body == {"GUID": "g" * 255, "RemoteHost": "h" * 63 + ".example", "RemotePort": 65535,
                    "Gatename": "w" * 100, "Key": "k" * 250}
    east.expect_bytes(acknowledge("g" * 255))


def test_a_close_frame_is_answered_and_tcp_closed(programs, proxy, pair):
    east, west = pair
    west.send_raw(bytes.fromhex("88 80 00000000"))
    west.expect_end()
    east.expect(TERMINATOR, GUID="s1")
