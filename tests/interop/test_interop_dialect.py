"""An agent that was not told what to speak finds it out, and gives nothing away."""

import pytest

from culvert.peers import connect, receive_exactly
from culvert.wire import Closed
from culvert.world import culvert
from hubble.by_hand import Station
from hubble.messages import DATA, HANDSHAKE, INITIATOR, acknowledge, encode

RULE = "0:west:target.example:22"
SUBPROTOCOL = "sec-websocket-protocol"


def expect_native_only(station):
    """The agent hears that the server knows no culvert.1, and goes without a word."""
    peer = station.upgrade()
    assert peer.fields[SUBPROTOCOL] == "culvert.1"
    peer.expect_end()


def test_it_speaks_hubble_to_a_server_that_knows_nothing_else(world, programs, station):
    agent = programs.agent("native", station.url(), "east", RULE, wait=False)
    peer = station.upgrade()
    assert peer.fields[SUBPROTOCOL] == "culvert.1"
    peer.expect_bytes(encode(HANDSHAKE, Version="0.1", Name="east", Key=""))
    peer.send(acknowledge())
    agent.wait_registered()
    client = world.keep(connect(agent.port()))
    client.sendall(b"early")
    guid = peer.expect(INITIATOR, Gatename="west", RemoteHost="target.example")["GUID"]
    peer.send(acknowledge(guid))
    peer.expect_bytes(encode(DATA, GUID=guid, Order=1, Data=b"early"))


def test_it_finds_out_again_at_each_connection(programs, station):
    agent = programs.agent("native", station.url(), "east", wait=False)
    for _ in range(2):
        peer, _ = station.register()
        assert peer.fields[SUBPROTOCOL] == "culvert.1"
        agent.wait_registered()
        peer.close()


def test_it_speaks_native_to_a_gateway_that_knows_both(programs):
    gateway = programs.gateway()
    programs.agent("native", gateway.url(), "east")
    gateway.wait_for(r"agent\.registered.*east.*dialect=culvert\.1")


def test_it_speaks_hubble_to_a_gateway_if_told(programs):
    gateway = programs.gateway()
    programs.agent("agent", gateway.url(), "east")
    gateway.wait_for(r"agent\.registered.*east.*hubble 0\.1")


def test_never_with_a_key(world, station):
    world.bare_agent("east", "--url", station.url(), "--name", "east", "--key", "secret",
                     "--insecure")
    expect_native_only(station)
    expect_native_only(station)


def test_never_with_a_key_in_a_file(world, station):
    world.bare_agent("east", "--url", station.url(), "--name", "east", "--insecure",
                     "--key-file", world.write("key", "secret\n"))
    expect_native_only(station)


def test_never_with_a_key_in_a_rule(world, station):
    world.bare_agent("east", "--url", station.url(), "--name", "east", "--insecure", RULE,
                     "0:secret@west:target.example:22")
    expect_native_only(station)


def test_never_if_told_to_be_native(world, station):
    world.bare_agent("east", "--url", station.url(), "--name", "east", "--dialect", "native")
    expect_native_only(station)


def test_never_with_a_server_that_has_spoken_native(world, programs):
    """Whoever takes its place, or comes in between, does not get the agent to speak less."""
    gateway = world.gateway()
    agent = world.agent(gateway, "east", RULE)
    gateway.stop()
    impostor = world.keep(Station(gateway.port))
    expect_native_only(impostor)
    expect_native_only(impostor)
    impostor.close()
    since = agent.mark()
    programs.gateway(listen=f"127.0.0.1:{gateway.port}")
    agent.wait_registered(since=since)


def test_a_told_agent_gives_its_key(world, station):
    world.bare_agent("east", "--url", station.url(), "--name", "east", "--key", "secret",
                     "--insecure", "--dialect", "hubble")
    peer = station.upgrade()
    assert SUBPROTOCOL not in peer.fields
    peer.expect_bytes(encode(HANDSHAKE, Version="0.1", Name="east", Key="secret"))


def test_a_key_does_not_cross_a_network_in_clear():
    result = culvert("agent", "--url", "ws://192.0.2.1", "--name", "east", "--key", "secret",
                     "--dialect", "hubble")
    assert result.returncode == 2
    assert "clear" in result.stderr and "secret" not in result.stderr


def test_a_server_that_picks_another_protocol(world, station):
    """It is neither of the two."""
    world.bare_agent("east", "--url", station.url(), "--name", "east")
    peer = station.upgrade(fields=["Sec-WebSocket-Protocol: chat"])
    with pytest.raises(Closed):
        peer.receive()


@pytest.mark.parametrize("near", ["native", "agent"])
def test_both_dialects_behind_one_python_proxy(world, programs, near):
    """Two agents of culvert's and an original proxy."""
    proxy = world.keep(programs.background.proxy())
    echo = world.echo_server()
    programs.agent("native", proxy.url(), "far")
    agent = programs.agent(near, proxy.url(), "near", f"0:far:127.0.0.1:{echo.port}")
    with connect(agent.port()) as client:
        client.sendall(b"there and back")
        assert receive_exactly(client, 14) == b"there and back"
