"""Rules that lead to each other end after one round, and harm nobody."""

import pytest

from culvert.peers import echo_once, expect_session_reset, free_port, in_parallel
from culvert.process import eventually
from culvert.wire import ACK, Link

ALL = ["--allow", "*"]
MANY = 20  # sessions; without an end there are thousands


def opened(gateway):
    return gateway.count("session.opened")


def refused_as_loop(gateway):
    return gateway.count("session.refused .*a loop")


@pytest.mark.threads
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("bind", ["", "*:"], ids=["loopback", "all"])
def test_a_rule_that_leads_to_its_own_listener(world, threads, bind):
    """The far agent dials the near one's port, on the same host."""
    server = world.echo_server()
    gateway = world.gateway(threads=threads)
    world.agent(gateway, "far", options=ALL)
    port = free_port()
    near = world.agent(gateway, "near", f"{bind}{port}:far:127.0.0.1:{port}",
                       f"0:far:127.0.0.1:{server.port}")
    expect_session_reset(port, 30.0)
    eventually(lambda: refused_as_loop(gateway) >= 1, 30.0)
    assert opened(gateway) <= MANY
    echo_once(near.port(1))


@pytest.mark.threads
def test_rules_that_lead_to_each_other(world):
    """Two agents, each a rule to the other's listener, and many connections at once."""
    gateway = world.gateway(threads=2)
    ports = [free_port(), free_port()]
    world.agent(gateway, "a", f"{ports[0]}:b:localhost:{ports[1]}", options=ALL)
    world.agent(gateway, "b", f"{ports[1]}:a:localhost:{ports[0]}", options=ALL)
    in_parallel(lambda number: expect_session_reset(ports[number % 2], 30.0), range(20))
    assert opened(gateway) <= 20 * MANY


def chain_of(world, count):
    """The port of the first of `count` rules, each of which leads to the next, the last to an echo
    server."""
    gateway = world.gateway()
    server = world.echo_server()
    ports = [free_port() for _ in range(count)]
    rules = [f"{port}:far:127.0.0.1:{target}"
             for port, target in zip(ports, [*ports[1:], server.port])]
    world.agent(gateway, "far", options=ALL)
    world.agent(gateway, "near", *rules)
    return ports[0]


def test_eight_rules_in_a_chain_are_no_loop(world):
    port = chain_of(world, 8)
    in_parallel(lambda _: echo_once(port), range(10), workers=5)


def test_many_sessions_through_one_rule_are_no_loop(world):
    tunnel = world.tunnel(world.echo_server().port)
    connections = [tunnel.connect() for _ in range(300)]
    for connection in connections:
        connection.sendall(b"x")
    for connection in connections:
        assert connection.recv(1) == b"x"
    assert refused_as_loop(tunnel.gateway) == 0


def test_the_far_address_is_not_told_to_who_asks(world):
    server = world.echo_server()
    gateway = world.gateway()
    world.agent(gateway, "far", options=ALL)
    link = world.keep(Link.connect(gateway))
    assert link.shake_hands("rogue")["Ok"] is True
    link.open(1, "far", server.port)
    assert link.wait_for(ACK, 1) == [1, True, 0, ""]
