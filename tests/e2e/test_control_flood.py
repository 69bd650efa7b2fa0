"""A flood of opens and resets harms neither the agent that it is for nor its users."""

import pytest

from culvert.peers import connect, echo_bulk, receive_exactly
from culvert.wire import OPEN, RESET, Link, encode
from culvert.world import MEGABYTE

FLOOD = 1400
REASON = "a reason as long as a message may carry it; " * 11


def flood(attacker, first, agent, port):
    """Opens and resets, all of the former before all of the latter, in one go."""
    ids = range(first, first + 2 * FLOOD, 2)
    messages = [encode(OPEN, [sid, "tcp", agent, "127.0.0.1", port, "", {}]) for sid in ids]
    messages += [encode(RESET, [sid, 1, REASON[:480]]) for sid in ids]
    for start in range(0, len(messages), 500):
        attacker.send(b"".join(messages[start:start + 500]))
    return first + 2 * FLOOD


@pytest.fixture
def attacker(world):
    def make(gateway):
        link = world.keep(Link.connect(gateway))
        assert link.shake_hands("attacker")["Ok"] is True
        return link
    return make


@pytest.mark.parametrize("threads", [1, 4])
def test_a_flood_does_not_end_the_link_of_its_victim(world, attacker, threads):
    echo = world.echo_server()
    gateway = world.gateway(threads=threads)
    victim = world.agent(gateway, "victim")
    near = world.agent(gateway, "near", f"0:victim:127.0.0.1:{echo.port}")
    user = world.keep(connect(near.port()))
    user.sendall(b"before")
    assert receive_exactly(user, 6) == b"before"
    link = attacker(gateway)
    first = 1
    for _ in range(5):
        first = flood(link, first, "victim", echo.port)
    user.sendall(b"behind")
    assert receive_exactly(user, 6) == b"behind"
    echo_bulk(near.port(), MEGABYTE)
    assert "lost" not in victim.output()


def test_a_flood_does_not_end_a_link_that_has_lost_its_carrier(world, attacker):
    """What the gateway holds for the victim meanwhile is nothing but what the victim knows of."""
    echo = world.echo_server()
    gateway = world.gateway()
    proxy = world.proxy(gateway.port)
    victim = world.agent(gateway, "victim", url=f"ws://127.0.0.1:{proxy.port}")
    near = world.agent(gateway, "near", f"0:victim:127.0.0.1:{echo.port}")
    user = world.keep(connect(near.port()))
    user.sendall(b"before")
    assert receive_exactly(user, 6) == b"before"
    proxy.half_open()
    link = attacker(gateway)
    first = 1
    for _ in range(3):
        first = flood(link, first, "victim", echo.port)
    proxy.reset()
    user.sendall(b"behind")
    assert receive_exactly(user, 6) == b"behind"
    echo_bulk(near.port(), MEGABYTE)
    assert "registered as victim" not in victim.output().split("registered as victim", 1)[1]
