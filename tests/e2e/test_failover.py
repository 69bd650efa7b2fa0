"""Agents that go from one gateway to another and back, with sessions open, and links that they left."""

import os
import signal

import pytest

from culvert.events import wait_for_events
from culvert.peers import connect, echo_once, expect_gone, free_port, receive_exactly
from culvert.process import eventually
from culvert.wire import ACK, DATA, GOAWAY, MESSAGE_PING, MESSAGE_PONG, RESET, Link

NAME_TAKEN = 14
LEFT_PLACES = 16


def say(client, word=b"still there"):
    client.sendall(word)
    assert receive_exactly(client, len(word)) == word


class Moves:
    """Two agents that prefer one gateway to another."""

    def __init__(self, world):
        self.world = world
        self.listen = f"127.0.0.1:{free_port()}"
        self.server = world.echo_server()
        self.first = self.start_first()
        self.second = world.gateway("--drain", "0")
        options = ["--url", self.second.url(), "--retry-preferred", "1"]
        self.far = world.agent(self.first, "far", options=options)
        self.near = world.agent(self.first, "near", f"0:far:127.0.0.1:{self.server.port}",
                                options=options)

    def start_first(self):
        return self.world.gateway("--drain", "1", listen=self.listen)

    def marks(self):
        return [(agent, agent.mark()) for agent in (self.far, self.near)]

    def wait_at(self, gateway, marks):
        for agent, since in marks:
            agent.wait_for(f"^registered as .* at {gateway.url()}$", 40.0, since=since,
                           stream="out")

    def go_to_second(self, ends):
        """The first gateway ends, by `ends`, and both agents register at the second."""
        marks = self.marks()
        ends(self.first)
        self.wait_at(self.second, marks)
        self.first.wait(40.0)

    def come_back(self):
        marks = self.marks()
        self.first = self.start_first()
        self.wait_at(self.first, marks)

    def session(self):
        client = self.world.keep(connect(self.near.port()))
        say(client)
        return client


@pytest.mark.parametrize("ends", [lambda gateway: gateway.kill(),
                                  lambda gateway: gateway.signal(signal.SIGTERM)],
                         ids=["killed", "stopped"])
def test_agents_go_to_the_second_gateway_and_back_twice(world, ends):
    """Sessions that stay open at the second gateway keep nobody from going there again."""
    moves = Moves(world)
    stay = []
    for _ in range(2):
        lost = moves.session()
        moves.go_to_second(ends)
        expect_gone(lost)
        stay.append(moves.session())
        moves.come_back()
        moves.session()
        for client in stay:
            say(client)
    moves.go_to_second(ends)
    stay.append(moves.session())
    for client in stay:
        say(client)
    for agent in (moves.far, moves.near):
        assert agent.count("an agent with this name is connected") == 0


def test_two_urls_of_one_gateway(world):
    """The agent registers by the first while its link by the second is up at the same gateway."""
    server = world.echo_server()
    gateway = world.gateway()
    other_way = world.proxy(gateway.port)
    first = free_port()
    far = world.agent(gateway, "far")
    near = world.agent(None, "near", f"0:far:127.0.0.1:{server.port}",
                       url=f"ws://127.0.0.1:{first}",
                       options=["--url", f"ws://127.0.0.1:{other_way.port}",
                                "--retry-preferred", "1"])
    client = world.keep(connect(near.port()))
    say(client)
    since = near.mark()
    world.proxy(gateway.port, own_port=first)
    near.wait_for(f"^registered as near at ws://127.0.0.1:{first}$", 30.0, since=since,
                  stream="out")
    say(client)
    echo_once(near.port())
    assert near.count("is connected and answers") == 0
    assert far.is_running()


def registered(world, gateway, name="agent", **fields):
    link = world.keep(Link.connect(gateway))
    assert link.shake_hands(name, **fields)["Ok"], link.welcome
    return link


def served(world, gateway, link, name="agent"):
    """A session from an agent to `link`: (the asking agent's link, the stream's id at `link`)."""
    asking = registered(world, gateway, f"asks-{world.unique(name)}")
    asking.open(1, name, 9)
    sid = link.wait_for(0x02)[0]
    link.send_message(ACK, [sid, True, 0, ""])
    asking.wait_for(ACK, 1)
    return asking, sid


def check_session(asking, link, sid):
    asking.send_message(DATA, [1, b"to the agent"])
    assert link.wait_for(DATA, sid)[1] == b"to the agent"
    link.send_message(DATA, [sid, b"from the agent"])
    assert asking.wait_for(DATA, 1)[1] == b"from the agent"


@pytest.mark.threads
@pytest.mark.parametrize("threads", [1, 4])
def test_a_link_that_is_left_frees_its_name_and_serves_its_sessions(world, threads):
    events = world.path("events.json")
    gateway = world.gateway("--events", events, threads=threads)
    left = registered(world, gateway)
    asking, sid = served(world, gateway, left)
    left.send_message(GOAWAY, ["elsewhere now", 0])
    wait_for_events(events, "agent.unregistered", agent="agent",
                    reason="it has left: elsewhere now")
    next_link = registered(world, gateway)
    check_session(asking, left, sid)
    other, other_sid = served(world, gateway, next_link)  # which goes to the new link
    check_session(other, next_link, other_sid)
    left.open(1, "agent", 9)  # and nothing new may come from the old one
    assert left.wait_for(ACK, 1)[1:3] == [False, 12]
    check_session(asking, left, sid)


def test_goaway_with_time_frees_nothing(world):
    """An agent that is about to stop is the agent until it has."""
    gateway = world.gateway()
    holder = registered(world, gateway)
    holder.send_message(GOAWAY, ["the agent is stopping", 5])
    asking, sid = served(world, gateway, holder)
    check_session(asking, holder, sid)


@pytest.mark.threads
@pytest.mark.parametrize("threads", [1, 4])
def test_the_same_agent_replaces_itself_at_once(world, threads):
    """Key and boot prove it: its own older link is not waited for, and its sessions go on."""
    boot = os.urandom(16)
    gateway = world.gateway(threads=threads)
    before = registered(world, gateway, Boot=boot)
    asking, sid = served(world, gateway, before)
    registered(world, gateway, Boot=boot)  # the older link has answered no ping yet
    before.send_message(MESSAGE_PONG, [before.wait_for(MESSAGE_PING)[0]])
    check_session(asking, before, sid)


def test_a_dead_predecessor_of_the_same_agent_is_ended(world):
    boot = os.urandom(16)
    gateway = world.gateway()
    before = registered(world, gateway, Boot=boot)
    asking, _ = served(world, gateway, before)
    registered(world, gateway, Boot=boot)
    assert asking.wait_for(RESET, 1)[1] == 11  # nobody answers on it
    before.wait_closed(10.0)


@pytest.mark.parametrize("fields", [{}, {"Boot": os.urandom(16)}, {"Boot": bytes(16)}],
                         ids=["none", "another", "zeros"])
@pytest.mark.parametrize("own", [{}, {"Boot": os.urandom(16)}, {"Boot": bytes(16)}],
                         ids=["has-none", "has-one", "has-zeros"])
def test_another_agent_with_the_name_is_not_the_same(world, own, fields):
    gateway = world.gateway()
    holder = registered(world, gateway, **own)
    holder.send_message(MESSAGE_PONG, [holder.wait_for(MESSAGE_PING)[0]])
    thief = world.keep(Link.connect(gateway))
    thief.send_handshake("agent", **fields)
    holder.send_message(MESSAGE_PONG, [holder.wait_for(MESSAGE_PING)[0]])
    assert thief.receive()[1]["Code"] == NAME_TAKEN
    asking, sid = served(world, gateway, holder)
    check_session(asking, holder, sid)


def test_links_that_were_left_are_bounded(world):
    """One name may have 16 that still serve sessions; another agent's sessions do not suffer."""
    events = world.path("events.json")
    gateway = world.gateway("--events", events)
    innocent = world.tunnel(world.echo_server().port, gateway=gateway)
    client = innocent.connect()
    say(client)
    attacker, askers = [], []
    for _ in range(LEFT_PLACES + 4):
        link = registered(world, gateway)
        askers.append(served(world, gateway, link)[0])
        link.send_message(GOAWAY, ["and again", 0])
        attacker.append(link)
        wait_for_events(events, "agent.unregistered", agent="agent", count=len(attacker))
    for link in attacker[LEFT_PLACES:]:
        link.wait_closed(10.0)
    say(client)


def test_a_link_that_was_left_does_not_stay_without_sessions(world):
    gateway = world.gateway()
    left = registered(world, gateway)
    left.send_message(GOAWAY, ["elsewhere now", 0])
    left.wait_closed(20.0)


def test_a_gateway_that_stops_does_not_wait_for_links_that_were_left(world):
    gateway = world.gateway("--drain", "60")
    left = registered(world, gateway)
    left.send_message(GOAWAY, ["elsewhere now", 0])
    registered(world, gateway).connection.close()
    gateway.signal(signal.SIGTERM)
    eventually(lambda: not gateway.is_running(), 40.0)
    assert gateway.wait() == 0
