"""Acceptance cases 18 to 25 of the specification: what an agent does.

The test plays the proxy. The independent agent is held to the cases like culvert's, so that a
wrong test shows itself. Case 21 takes half a minute: see test_interop_waits.py.
"""

import socket

import pytest

from culvert.peers import connect, expect_end, expect_gone, free_port, receive_exactly
from culvert.wire import BINARY, CLOSE, CONTINUATION, PING, PONG
from hubble.messages import (ACK, CONNECTION_CLOSED, DATA, INITIATOR, TERMINATOR, acknowledge,
                             encode)
from programs import AGENTS

RULE = "0:k@y@west:target.example:22"


@pytest.fixture(params=AGENTS)
def kind(request):
    return request.param


@pytest.fixture
def agent(programs, station, kind):
    """An agent that is about to register at the station."""
    return programs.agent(kind, station.url(path="/a/b?c"), "east", RULE, wait=False)


@pytest.fixture
def proxy(agent, station):
    """The proxy's end of the agent's connection; alive when the test is over."""
    peer, body = station.register()
    assert (body["Name"], body["Key"]) == ("east", "")
    agent.wait_registered()
    yield peer
    peer.expect_nothing(b"afterwards")


@pytest.fixture
def client(world, agent, proxy):
    """A client at the agent's rule, before anything was answered."""
    one = world.keep(connect(agent.port()))
    one.sendall(b"early")
    return one


@pytest.fixture
def guid(client, proxy):
    """The session that the client's connection asked for."""
    return proxy.expect(INITIATOR, RemoteHost="target.example", RemotePort=22, Gatename="west",
                        Key="k@y")["GUID"]


@pytest.fixture
def opened(proxy, guid):
    """The session, open, its early data received."""
    proxy.send(acknowledge(guid))
    proxy.expect_bytes(encode(DATA, GUID=guid, Order=1, Data=b"early"))
    return guid


@pytest.fixture
def answered(world, proxy):
    """(session, target's end): the proxy has opened a session to a target here."""
    server = world.server()
    proxy.open("s1", "east", server.port)
    proxy.expect_bytes(acknowledge("s1"))
    return "s1", server.accept()


def expect_session_end(proxy, guid):
    """The end of the session is told once; an end of file before it is not asked for."""
    proxy.expect_bytes(encode(CONNECTION_CLOSED, GUID=guid))


def test_the_upgrade_asks_for_nothing(agent, station):
    peer = station.upgrade()
    assert peer.request_line == "GET /a/b?c HTTP/1.1"
    assert peer.fields["sec-websocket-version"] == "13"
    for name in ("sec-websocket-protocol", "sec-websocket-extensions", "origin"):
        assert name not in peer.fields


def test_the_handshake_byte_for_byte(agent, station):
    station.upgrade().expect_bytes(
        b"\x01\x83\xa3Key\xa0\xa4Name\xa4east\xa7Version\xa30.1")


def test_18_early_data_waits_for_the_ack(proxy, client, guid):
    assert guid
    proxy.expect_nothing(b"1")
    proxy.expect_nothing(b"2")
    proxy.send(acknowledge(guid))
    proxy.expect_bytes(encode(DATA, GUID=guid, Order=1, Data=b"early"))


def test_18_data_goes_both_ways(proxy, client, opened):
    proxy.send_data(opened, b"answer" * 1000)
    assert receive_exactly(client, 6000) == b"answer" * 1000
    client.sendall(b"question" * 1000)
    proxy.expect_data(opened, b"question" * 1000, order=2)


def test_18_the_text_of_an_ack_does_not_count(proxy, client, guid):
    proxy.send_message(ACK, GUID=guid, Ok=True, Message="Gateway not registered")
    proxy.expect_data(guid, b"early")


def test_18_a_refused_session_ends(proxy, client, guid):
    proxy.send(acknowledge(guid, "Gateway not registered"))
    expect_gone(client)
    proxy.expect_nothing()


def test_19_the_end_of_a_clients_sending_is_the_end(proxy, client, opened):
    client.shutdown(socket.SHUT_WR)
    proxy.expect_bytes(encode(DATA, GUID=opened, Order=2, Data=b""))
    proxy.expect_bytes(encode(CONNECTION_CLOSED, GUID=opened))
    expect_end(client)
    proxy.send_message(TERMINATOR, GUID=opened)
    proxy.send_message(TERMINATOR, GUID=opened)


def test_19_the_end_of_a_targets_sending_is_the_end(proxy, answered):
    guid, target = answered
    target.sendall(b"last words")
    target.shutdown(socket.SHUT_WR)
    order = proxy.expect_data(guid, b"last words")
    proxy.expect_bytes(encode(DATA, GUID=guid, Order=order, Data=b""))
    proxy.expect_bytes(encode(CONNECTION_CLOSED, GUID=guid))
    expect_end(target)


@pytest.mark.parametrize("order", [2, 0, -1, 2**63 - 1])
def test_20_data_out_of_order_ends_the_session(proxy, client, opened, order):
    proxy.send_message(DATA, GUID=opened, Order=order, Data=b"x")
    expect_session_end(proxy, opened)
    expect_gone(client)


def test_20_data_twice_ends_the_session(proxy, client, opened):
    for _ in range(2):
        proxy.send_message(DATA, GUID=opened, Order=1, Data=b"x")
    expect_session_end(proxy, opened)
    expect_gone(client)


def test_empty_data_counts(proxy, client, opened):
    proxy.send_message(DATA, GUID=opened, Order=1, Data=b"")
    proxy.send(b"\x03\x82\xa4GUID" + encode(TERMINATOR, GUID=opened)[7:] + b"\xa5Order\x02")
    proxy.send_message(DATA, GUID=opened, Order=3, Data=b"third")
    assert receive_exactly(client, 5) == b"third"


def test_a_terminator_closes_the_socket(proxy, client, opened):
    proxy.send_data(opened, b"last words")
    proxy.send_message(TERMINATOR, GUID=opened)
    assert receive_exactly(client, 10) == b"last words"
    expect_end(client)
    expect_session_end(proxy, opened)


def test_a_terminator_closes_the_targets_socket(proxy, answered):
    guid, target = answered
    proxy.send_data(guid, b"last words")
    proxy.send_message(TERMINATOR, GUID=guid)
    assert receive_exactly(target, 10) == b"last words"
    expect_end(target)
    expect_session_end(proxy, guid)


def test_22_a_refused_dial(proxy):
    proxy.open("s1", "east", free_port())
    body = proxy.expect(ACK, GUID="s1", Ok=False)
    assert body["Message"] not in ("", "<nil>")


def test_22_a_name_that_is_none(proxy):
    proxy.open("s1", "east", 1, host="no-such-host.invalid")
    assert proxy.expect(ACK, GUID="s1", Ok=False)["Message"]


@pytest.mark.parametrize("host", ["", "localhost", "127.0.0.1"])
def test_the_responders_own_host(world, proxy, host):
    server = world.echo_server()
    proxy.open("s1", "east", server.port, host=host)
    proxy.expect_bytes(acknowledge("s1"))
    proxy.send_data("s1", b"there and back")
    proxy.expect_data("s1", b"there and back")


def test_an_address_in_brackets(world, proxy):
    server = world.echo_server(address="::1")
    proxy.open("s1", "east", server.port, host="[::1]")
    proxy.expect_bytes(acknowledge("s1"))
    proxy.send_data("s1", b"there and back")
    proxy.expect_data("s1", b"there and back")


def test_data_right_behind_the_ack_is_taken(world, proxy):
    """A new responder registers first and acknowledges second: what comes at once is not lost."""
    server = world.echo_server()
    for number in range(50):
        guid = f"s{number}"
        proxy.open(guid, "east", server.port)
        proxy.expect_bytes(acknowledge(guid))
        proxy.send_data(guid, b"at once")
        proxy.expect_data(guid, b"at once")
        proxy.send_message(TERMINATOR, GUID=guid)
        expect_session_end(proxy, guid)


def test_23_unknown_sessions_are_ignored(proxy):
    for guid in ("", "s9"):
        proxy.send_message(TERMINATOR, GUID=guid)
        proxy.send_message(DATA, GUID=guid, Order=1, Data=b"x")
        proxy.send_message(CONNECTION_CLOSED, GUID=guid)
        proxy.send(acknowledge(guid, "no"))
    proxy.expect_nothing()


def test_a_connection_closed_of_the_proxy_is_ignored(proxy, client, opened):
    """Only 04 comes from a proxy."""
    proxy.send_message(CONNECTION_CLOSED, GUID=opened)
    proxy.send_data(opened, b"still here")
    assert receive_exactly(client, 10) == b"still here"


def test_24_the_end_of_a_connection_is_not_the_end(world, agent, station):
    peer, _ = station.register()
    agent.wait_registered()
    client = world.keep(connect(agent.port()))
    guid = peer.expect(INITIATOR)["GUID"]
    peer.send(acknowledge(guid))
    client.sendall(b"x")
    peer.expect_data(guid, b"x")
    peer.close()
    expect_gone(client)
    again, body = station.register()
    assert body["Name"] == "east"
    again.expect_nothing()


def test_24_a_close_frame_is_the_end_of_a_connection(agent, station):
    peer, _ = station.register()
    peer.send_frame(CLOSE, b"")
    peer.connection.shutdown(socket.SHUT_WR)
    again, _ = station.register()
    again.expect_nothing()


def test_24_a_refused_handshake_is_tried_again(agent, station):
    peer = station.upgrade()
    peer.receive()
    peer.send(acknowledge(error="Invalid protocol version"))
    peer.connection.shutdown(socket.SHUT_WR)
    again, _ = station.register()
    again.expect_nothing()


def test_25_a_ping_is_answered(proxy):
    proxy.send_frame(PING, b"hey")
    assert proxy.next_event() == (PONG, b"hey")


def test_a_message_in_many_frames(proxy, client, opened):
    """As the original proxy cuts it, and with a ping between the frames."""
    first, second = (encode(DATA, GUID=opened, Order=order, Data=bytes(range(256)) * 4)
                     for order in (1, 2))
    proxy.send_pieces(first, 1024, len(first) - 1024)
    proxy.send_frame(BINARY, second[:1024], fin=False)
    proxy.send_frame(PING, b"between")
    proxy.send_frame(CONTINUATION, second[1024:])
    assert receive_exactly(client, 2048) == bytes(range(256)) * 8
    assert proxy.next_event() == (PONG, b"between")


def test_an_unknown_type_ends_the_connection(agent, station):
    peer, _ = station.register()
    peer.send(b"\x09\x80")
    peer.expect_end()
    station.register()
