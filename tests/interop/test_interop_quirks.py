"""Section 9 of the specification as far as a peer sees it, and agents that are wrong or hostile."""

import struct

import msgpack
import pytest

from culvert.peers import connect, expect_gone, free_port, receive_exactly
from culvert.wire import BINARY, CONTINUATION, PONG, TEXT
from culvert.world import MEGABYTE
from hubble.by_hand import dial, expect_closed_connection
from hubble.messages import (ACK, CONNECTION_CLOSED, DATA, HANDSHAKE, INITIATOR, TERMINATOR,
                             acknowledge, encode)


@pytest.fixture
def gateway(programs):
    """It serves agents to the end."""
    one = programs.gateway(options=["--log-level", "debug"])
    yield one
    programs.link(one, "afterwards").expect_nothing()


@pytest.fixture
def pair(programs, gateway):
    """Agents east and west with the open session s1 between them."""
    east, west = programs.link(gateway, "east"), programs.link(gateway, "west")
    open_session(east, west, "s1")
    return east, west


def open_session(east, west, guid, name="west"):
    """Returns the session's name at west."""
    east.open(guid, name, 22)
    at_west = west.accept()["GUID"]
    east.expect_bytes(acknowledge(guid))
    return at_west


def expect_session(east, west, guid, at_west=None, order=1):
    """Data goes both ways."""
    at_west = at_west or guid
    east.send_data(guid, b"there", order)
    west.expect_data(at_west, b"there", order)
    west.send_data(at_west, b"back", order)
    east.expect_data(guid, b"back", order)


def expect_refusal(peer, guid):
    """A session ends that was not open yet; which way depends on who was first."""
    kind, body = peer.receive()
    assert body["GUID"] == guid
    assert kind == TERMINATOR or (kind == ACK and not body["Ok"])


# Names.


def test_a_name_in_use_is_refused(world, programs, gateway):
    """Whether the holder of a name is there is found out by a ping."""
    programs.background.agent(gateway.url(), "west")
    second = dial(gateway.port)
    assert second.shake_hands("west")["Ok"] is False
    second.expect_end()
    east = programs.link(gateway, "east")
    east.open("s1", "west", world.echo_server().port)
    east.expect_bytes(acknowledge("s1"))
    east.send_data("s1", b"there and back")
    east.expect_data("s1", b"there and back")


def test_a_name_whose_holder_is_silent_is_given_away(programs, gateway, pair):
    east, west = pair
    west.answers_pings = False
    second = programs.link(gateway, "west")
    east.expect(TERMINATOR, GUID="s1")
    west.wait_tcp_closed()
    open_session(east, second, "s2")


def test_names_are_shared_with_native_agents(world, programs, gateway):
    world.agent(gateway, "far")
    second = dial(gateway.port)
    assert second.shake_hands("far")["Ok"] is False
    second.expect_end()


@pytest.mark.parametrize("name", ["a name with spaces", "grün", "a/b:c@d"])
def test_names_have_no_syntax(programs, gateway, name):
    east, west = programs.link(gateway, "east"), programs.link(gateway, name)
    open_session(east, west, "s1", name)


@pytest.mark.parametrize("name", ["n" * 129, "n" * 70000, "a\nb", "a\x1bb", "gateway", "-"],
                         ids=["long", "huge", "newline", "escape", "gateway", "nobody"])
def test_names_that_cannot_be(gateway, name):
    peer = dial(gateway.port)
    peer.send_message(HANDSHAKE, Version="0.1", Name=name)
    with expect_closed_connection():
        assert peer.expect(ACK, GUID="")["Ok"] is False
    peer.wait_tcp_closed()


# Sessions.


def test_a_late_ack_is_answered_with_the_end(programs, gateway):
    """A responder that is still dialling does not know the session that it is told of; nobody
    would close its socket."""
    east, west = programs.link(gateway, "east"), programs.link(gateway, "west")
    east.open("s1", "west", 22)
    assert west.expect(INITIATOR)["GUID"] == "s1"
    east.send_message(CONNECTION_CLOSED, GUID="s1")
    for peer in (east, west):
        peer.expect(TERMINATOR, GUID="s1")
    west.send(acknowledge("s1"))
    west.expect(TERMINATOR, GUID="s1")
    west.expect_nothing()


def test_an_initiator_that_goes_before_the_ack(programs, gateway):
    east, west = programs.link(gateway, "east"), programs.link(gateway, "west")
    east.open("s1", "west", 22)
    assert west.expect(INITIATOR)["GUID"] == "s1"
    east.close()
    west.expect(TERMINATOR, GUID="s1")
    west.send(acknowledge("s1"))
    west.expect(TERMINATOR, GUID="s1")
    west.expect_nothing()


def test_a_responder_that_goes_before_the_ack(programs, gateway):
    east, west = programs.link(gateway, "east"), programs.link(gateway, "west")
    east.open("s1", "west", 22)
    west.expect(INITIATOR)
    west.close()
    expect_refusal(east, "s1")


def test_a_session_to_ones_own_name(programs, gateway):
    """One table for both ends: the gateway gives the other end a name of its own."""
    east = programs.link(gateway, "east")
    east.open("s1", "east", 22)
    other = east.accept()["GUID"]
    assert other != "s1"
    east.expect_bytes(acknowledge("s1"))
    expect_session(east, east, "s1", other)
    expect_session(east, east, other, "s1", order=2)
    east.send_message(CONNECTION_CLOSED, GUID="s1")
    while east.expect(TERMINATOR)["GUID"] != other:
        pass


def test_a_guid_in_use_by_another_agent(programs, gateway, pair):
    east, west = pair
    other = programs.link(gateway, "other")
    at_west = open_session(other, west, "s1")
    assert at_west != "s1"
    expect_session(east, west, "s1")
    expect_session(other, west, "s1", at_west)
    other.send_message(CONNECTION_CLOSED, GUID="s1")
    west.expect(TERMINATOR, GUID=at_west)
    expect_session(east, west, "s1", order=2)


def test_a_guid_that_west_has_used_itself(programs, gateway, pair):
    east, west = pair
    open_session(east, west, "s2")
    at_east = open_session(west, east, "s3", "east")
    assert at_east == "s3"
    expect_session(west, east, "s3")
    expect_session(east, west, "s2")


def test_a_guid_that_is_used_again_while_it_lives(programs, gateway, pair):
    east, west = pair
    other = programs.link(gateway, "other")
    east.open("s1", "other", 22)
    other.accept()
    west.expect(TERMINATOR, GUID="s1")
    # Whatever it was told of the old session, the new one works.
    kind, body = east.receive()
    if kind == TERMINATOR:
        kind, body = east.receive()
    assert (kind, body["GUID"], body["Ok"]) == (ACK, "s1", True)
    expect_session(east, other, "s1")
    west.send_message(CONNECTION_CLOSED, GUID="s1")
    expect_session(east, other, "s1", order=2)


def test_nobody_reaches_anothers_session(programs, gateway, pair):
    east, west = pair
    other = programs.link(gateway, "other")
    other.send_data("s1", b"forged")
    other.send_message(CONNECTION_CLOSED, GUID="s1")
    other.send(acknowledge("s1", "no"))
    other.expect_nothing()
    expect_session(east, west, "s1")


def test_a_session_without_a_guid_is_ignored(programs, gateway, pair):
    east, west = pair
    east.open("", "west", 22)
    east.expect_nothing()
    expect_session(east, west, "s1")


@pytest.mark.parametrize("order", [3, 1, 0, -5])
@pytest.mark.parametrize("who", ["east", "west"])
def test_data_out_of_order_ends_only_its_session(programs, gateway, pair, who, order):
    east, west = pair
    open_session(east, west, "s2")
    expect_session(east, west, "s1")
    culprit, other = (east, west) if who == "east" else (west, east)
    culprit.send_message(DATA, GUID="s1", Order=order, Data=b"wrong")
    other.expect(TERMINATOR, GUID="s1")
    culprit.expect(TERMINATOR, GUID="s1")
    expect_session(east, west, "s2")


def test_data_of_a_responder_before_its_ack(programs, gateway, pair):
    """There is no session yet, and at the original there would be none afterwards."""
    east, west = pair
    east.open("s2", "west", 22)
    west.expect(INITIATOR, GUID="s2")
    west.send_data("s2", b"too early")
    west.expect(TERMINATOR, GUID="s2")
    expect_refusal(east, "s2")
    expect_session(east, west, "s1")


def test_a_second_ack_is_ignored(pair):
    east, west = pair
    west.send(acknowledge("s1"))
    west.send(acknowledge("s1", "no"))
    expect_session(east, west, "s1")


def test_an_ack_of_the_initiator_is_ignored(pair):
    east, west = pair
    east.send(acknowledge("s1"))
    east.send(acknowledge("s1", "no"))
    expect_session(east, west, "s1")


def test_a_responder_that_refuses_late(programs, gateway, pair):
    east, west = pair
    east.open("s2", "west", 22)
    west.expect(INITIATOR, GUID="s2")
    west.send_message(CONNECTION_CLOSED, GUID="s2")
    west.expect(TERMINATOR, GUID="s2")
    expect_refusal(east, "s2")
    expect_session(east, west, "s1")


def test_what_a_native_agent_refuses_is_told_in_words(world, programs, gateway):
    world.agent(gateway, "far", options=["--allow", "127.0.0.1:1-1023"])
    east = programs.link(gateway, "east")
    east.open("s1", "far", 4711)
    assert "Unauthorized" in east.expect(ACK, GUID="s1", Ok=False)["Message"]
    world.agent(gateway, "other")
    east.open("s2", "other", free_port())
    assert "refused" in east.expect(ACK, GUID="s2", Ok=False)["Message"]


def test_an_ipv6_target_towards_an_original(world, programs, gateway):
    west = programs.link(gateway, "west")
    near = world.agent(gateway, "near", "0:west:[::1]:22")
    client = world.keep(connect(near.port()))
    assert west.accept()["RemoteHost"] == "[::1]"
    client.sendall(b"x")


def test_keys_are_not_in_the_log(world, programs, gateway):
    secret = "a-secret-that-is-nobodys-business"
    east, west = programs.link(gateway, "east", secret), programs.link(gateway, "west")
    east.open("s1", "west", 22, key=secret)
    assert west.accept()["Key"] == secret
    east.expect_bytes(acknowledge("s1"))
    east.open("s2", "nobody", 22, key=secret)
    east.expect(ACK, GUID="s2", Ok=False)
    east.open("s2", "west", 22, host="h" * 300, key=secret)
    east.expect(ACK, GUID="s2", Ok=False)
    assert secret not in gateway.output()


# Hostile messages.

TRUNCATED = encode(INITIATOR, GUID="s1", RemoteHost="127.0.0.1", RemotePort=22, Gatename="west")
HOSTILE = {
    "no byte at all": b"",
    "only a type": b"\x03",
    "type 00": b"\x00\x80",
    "type 06": b"\x06\x81\xa4GUID\xa2s1",
    "type fe": b"\xfe\x80",
    "a truncated map": TRUNCATED[:-1],
    "a truncated text": TRUNCATED[:20],
    "an integer for the map": b"\x03\x07",
    "an integer for a text": b"\x03\x81\xa4GUID\x07",
    "a float for a port": b"\x02\x81\xaaRemotePort\xcb" + struct.pack("!d", 22.0),
    "a negative port": b"\x02\x81\xaaRemotePort\xff",
    "a port of 65536": b"\x02\x81\xaaRemotePort\xce\x00\x01\x00\x00",
    "an order beyond int64": b"\x03\x81\xa5Order\xcf" + b"\xff" * 8,
    "a text for a boolean": b"\xff\x81\xa2Ok\xa1x",
    "two for a boolean": b"\xff\x81\xa2Ok\x02",
    "4 GB of data declared": b"\x03\x81\xa4Data\xdb\xff\xff\xff\xff",
    "4 GB of bin declared": b"\x03\x81\xa4Data\xc6\xff\xff\xff\xff",
    "4 billion keys declared": b"\x03\xdf\xff\xff\xff\xff",
    "4 billion elements declared": b"\x03\xdd\xff\xff\xff\xff",
    "4 billion numbers for data": b"\x03\x81\xa4Data\xdd\xff\xff\xff\xff",
    "a number above a byte": b"\x03\x81\xa4Data\x91\xcd\x01\x00",
    "the byte that is no type": b"\x03\xc1",
    "a million arrays deep": b"\x03\x81\xa1x" + b"\x91" * 1000000,
}


def spoil(peer, message):
    with expect_closed_connection():
        peer.send(message)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_message_ends_only_its_own_connection(programs, gateway, pair, name):
    east, west = pair
    culprit = programs.link(gateway, "culprit")
    open_session(culprit, west, "c1")
    spoil(culprit, HOSTILE[name])
    culprit.expect_end()
    west.expect(TERMINATOR, GUID="c1")
    expect_session(east, west, "s1")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_message_instead_of_the_handshake(gateway, name):
    peer = dial(gateway.port)
    spoil(peer, HOSTILE[name])
    peer.expect_end()


@pytest.mark.parametrize("opcode,payload", [
    (TEXT, encode(DATA, GUID="s1", Order=1, Data=b"x")), (TEXT, b""), (CONTINUATION, b"x"),
    (0x3, b"x"), (0xB, b"x")], ids=["text", "empty text", "continuation", "0x3", "0xb"])
def test_a_frame_that_is_none_ends_only_its_own_connection(programs, gateway, pair, opcode,
                                                           payload):
    east, west = pair
    culprit = programs.link(gateway, "culprit")
    culprit.send_frame(opcode, payload)
    culprit.expect_end()
    expect_session(east, west, "s1")


def test_frames_that_declare_gigabytes(programs, gateway, pair):
    east, west = pair
    for declared in (2**31, 2**40, 2**63 - 1):
        culprit = programs.link(gateway, "culprit")
        culprit.send_frame(BINARY, b"\x03", declared=declared)
        culprit.expect_end()
    expect_session(east, west, "s1")


def test_a_message_without_an_end(programs, gateway, pair, sanitized):
    """Frame after frame: a message has a bound."""
    east, west = pair
    culprit = programs.link(gateway, "culprit")
    before = gateway.memory()
    with expect_closed_connection():
        culprit.send_frame(BINARY, b"\x03\x81\xa4Data\xdb\x7f\xff\xff\xff", fin=False)
        for _ in range(4096):
            culprit.send_frame(CONTINUATION, bytes(16384), fin=False)
    culprit.wait_tcp_closed()
    assert sanitized or gateway.memory() - before < 32 * MEGABYTE
    expect_session(east, west, "s1")


def test_texts_that_are_too_long_refuse_only_their_session(programs, gateway, pair):
    east, west = pair
    for field in ("RemoteHost", "Gatename", "Key"):
        fields = {"GUID": "s9", "Gatename": "west", "RemoteHost": "h", "RemotePort": 1}
        east.send_message(INITIATOR, **{**fields, field: "x" * 400})
        east.expect(ACK, GUID="s9", Ok=False)
    west.expect_nothing()
    expect_session(east, west, "s1")


def test_pongs_that_nobody_asked_for(programs, gateway, pair):
    east, west = pair
    for payload in (b"", b"x" * 125):
        west.send_frame(PONG, payload)
    expect_session(east, west, "s1")


def test_a_thousand_sessions_at_once(programs, gateway):
    east, west = programs.link(gateway, "east"), programs.link(gateway, "west")
    guids = [f"session {number}" for number in range(1000)]
    for guid in guids:
        east.open(guid, "west", 22)
    assert [west.accept()["GUID"] for _ in guids] == guids
    for guid in guids:
        east.expect_bytes(acknowledge(guid))
    west.close()
    assert {east.expect(TERMINATOR)["GUID"] for _ in guids} == set(guids)
    east.expect_nothing()


def test_many_opens_that_nobody_answers(programs, gateway, pair):
    """West says nothing; the gateway's other sessions do not wait for it."""
    east, west = pair
    for number in range(500):
        east.open(f"open {number}", "west", 22)
    expect_session_behind_opens(east, west)


def expect_session_behind_opens(east, west):
    east.send_data("s1", b"there")
    kind, body = west.receive()
    while kind == INITIATOR:
        kind, body = west.receive()
    assert (kind, body["Data"]) == (DATA, b"there")


def test_a_modern_message_between_native_and_old(world, programs, gateway):
    """What an agent with a newer msgpack writes reaches a native one."""
    server = world.server()
    world.agent(gateway, "far")
    east = programs.link(gateway, "east")
    east.send(b"\x02" + msgpack.packb({"GUID": b"s1", "Gatename": "far", "Key": None,
                                       "RemotePort": server.port, "RemoteHost": "127.0.0.1"},
                                      use_bin_type=True))
    east.expect_bytes(acknowledge("s1"))
    target = server.accept()
    east.send(b"\x03" + msgpack.packb({"GUID": "s1", "Order": 1, "Data": b"\x00\xff"},
                                      use_bin_type=True))
    assert receive_exactly(target, 2) == b"\x00\xff"
    east.send(b"\x05" + msgpack.packb(["s1"]))
    expect_gone(target)


# Keys.


def test_the_key_of_a_handshake_is_checked(programs):
    gateway = programs.gateway(is_open=False)
    key = gateway.add_key("east")
    assert programs.link(gateway, "east", key)
    for name, wrong in (("east", ""), ("east", key[:-1] + "x"), ("west", key), ("east", "x" * 200),
                        ("", key)):
        peer = dial(gateway.port)
        body = peer.shake_hands(name, wrong)
        assert body["Ok"] is False and body["Message"]
        assert key not in body["Message"]
        peer.expect_end()
    assert key not in gateway.output()


def test_a_key_that_is_taken_back_ends_the_connection(programs):
    gateway = programs.gateway(is_open=False)
    east = programs.link(gateway, "east", gateway.add_key("east"))
    assert gateway.key("revoke", "east").returncode == 0
    east.expect_end()


def test_without_legacy_an_agent_is_refused_before_the_upgrade(world):
    """The original would otherwise bind its tunnels to a dead connection."""
    gateway = world.gateway()
    with pytest.raises(AssertionError, match="HTTP/1.1 4"):
        dial(gateway.port)
