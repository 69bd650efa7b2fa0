"""Agents that know several gateways: the next when one is lost, an orderly move, the preferred one."""

import json
import re
import signal
import time
from collections import Counter

import pytest

from culvert.peers import (connect, echo_once, expect_gone, expect_session_gone, free_port,
                           receive_all, receive_exactly)
from culvert.process import PATIENCE, eventually
from culvert.timing import BUSY, seconds_of
from culvert.wire import Link, accept_value
from culvert.world import is_sanitized


def urls(*gateways):
    """Options for an agent that is given the first by itself."""
    return [word for gateway in gateways[1:] for word in ("--url", gateway.url())]


def agents_of(world, gateways, server, *options):
    """(far, near): one that dials, and one with a rule for the server."""
    options = [*urls(*gateways), *options]
    far = world.agent(gateways[0], "far", options=options)
    near = world.agent(gateways[0], "near", f"0:far:127.0.0.1:{server.port}", options=options)
    return far, near


def registered_at(agent):
    """The URL of its latest registration."""
    found = re.findall(r"^registered as \S+ at (\S+)$", agent.output("out"), re.M)
    return found[-1] if found else None


def wait_registered_at(agents, gateway, timeout=PATIENCE):
    for agent in agents:
        eventually(lambda: registered_at(agent) == gateway.url(), timeout,
                   f"{agent.name} did not come to {gateway.url()}")


def say(client, word=b"still there"):
    client.sendall(word)
    assert receive_exactly(client, len(word)) == word


def test_the_first_that_answers_is_taken_at_once(world):
    gateway = world.gateway()
    agent = world.agent(None, "agent", url=f"ws://127.0.0.1:{free_port()}",
                        options=["--url", f"ws://127.0.0.1:{free_port()}", "--url", gateway.url()])
    assert registered_at(agent) == gateway.url()
    eventually(lambda: agent.count(r"refused; trying .* in less than 0\.1 s") == 2)


def test_the_wait_comes_when_all_have_been_tried(world):
    dead = [f"ws://127.0.0.1:{free_port()}" for _ in range(3)]
    agent = world.agent(None, "agent", url=dead[0], wait=False,
                        options=[word for url in dead[1:] for word in ("--url", url)])
    agent.wait_for(rf"at {dead[2]}: .*; trying {dead[0]} in 0\.[1-9] s")


def test_the_next_takes_over_when_one_is_killed(world, secure):
    server = world.echo_server()
    gateways = [world.gateway(secure=secure) for _ in range(2)]
    far, near = agents_of(world, gateways, server)
    assert registered_at(far) == registered_at(near) == gateways[0].url()
    client = world.keep(connect(near.port()))
    say(client)
    gateways[0].kill()
    waiting = world.keep(connect(near.port()))
    waiting.sendall(b"early")
    wait_registered_at((far, near), gateways[1])
    expect_gone(client)
    echo_once(near.port())


def test_a_gateway_that_is_back_in_time_keeps_its_agents(world):
    """Its way is gone for a moment, shorter than the patience for a link that can be resumed."""
    server = world.echo_server()
    gateways = [world.gateway() for _ in range(2)]
    way = world.proxy(gateways[0].port)
    options = ["--url", gateways[1].url()]
    world.agent(gateways[0], "far")
    near = world.agent(None, "near", f"0:far:127.0.0.1:{server.port}", options=options,
                       url=f"ws://127.0.0.1:{way.port}")
    client = world.keep(connect(near.port()))
    say(client)
    since = near.mark()
    way.close()
    near.wait_for("cannot resume the link", since=since, stream="err")
    world.proxy(gateways[0].port, own_port=way.port)
    say(client)
    assert registered_at(near) == f"ws://127.0.0.1:{way.port}"


def test_agents_spread_over_equal_gateways(world):
    gateways = [world.gateway() for _ in range(3)]
    options = [*urls(*gateways), "--url-order", "random"]
    agents = [world.agent(gateways[0], f"agent{number}", options=options, wait=False)
              for number in range(30)]
    for agent in agents:
        agent.wait_registered(30.0)
    assert {registered_at(agent) for agent in agents} == {gateway.url() for gateway in gateways}


def test_agents_at_different_gateways_are_told_why_they_cannot_meet(world):
    gateways = [world.gateway() for _ in range(2)]
    world.agent(gateways[0], "far")
    link = world.keep(Link.connect(gateways[1]))
    assert link.shake_hands("near")["Ok"]
    near = world.agent(gateways[1], "other", "0:far:127.0.0.1:9")
    expect_session_gone(near.port())
    near.wait_for("no agent with this name.*agents at different gateways cannot meet")


@pytest.mark.slow
def test_a_gateway_that_stops_is_left_in_good_order(world):
    """Agents register at the next while the old one still lives, spread over its time; what is open
    at the old one goes on."""
    count, drain = (20 if is_sanitized() else 50), 10
    events = world.path("events.json")
    server = world.echo_server()
    old = world.gateway("--drain", str(drain))
    new = world.gateway("--events", events)
    far, near = agents_of(world, (old, new), server)
    others = [world.agent(old, f"agent{number}", options=urls(old, new), wait=False)
              for number in range(count)]
    for agent in others:
        agent.wait_registered(30.0)
    client = world.keep(connect(near.port()))
    say(client)
    start = time.time()
    old.signal(signal.SIGTERM)
    wait_registered_at([far, near, *others], new, drain + PATIENCE)
    assert old.is_running()
    say(client)
    with open(events, encoding="ascii") as file:
        times = [event["time"] for event in map(json.loads, file)
                 if event["event"] == "agent.registered"]
    shares = Counter(int(seconds(time_text) - start) for time_text in times)
    assert sum(shares.values()) == count + 2
    # Each second has its share; a stampede would have all in one.
    assert max(shares.values()) <= (count + 2) / 2 and len(shares) >= 5, shares
    echo_once(near.port())
    client.close()
    assert old.wait() == 0


def seconds(text):
    """Of an event's time, since 1970."""
    moment, fraction = re.fullmatch(r"(.*)(\.\d+)Z", text).groups()
    return time.mktime(time.strptime(moment, "%Y-%m-%dT%H:%M:%S")) - time.timezone + float(fraction)


def test_connections_made_while_a_gateway_stops_wait_for_the_next(world):
    server = world.echo_server()
    old, new = world.gateway("--drain", "6"), world.gateway()
    world.agent(old, "far")
    world.agent(new, "far")
    near = world.agent(old, "near", f"0:far:127.0.0.1:{server.port}",
                       options=["--url", new.url()])
    client = world.keep(connect(near.port()))
    say(client)
    old.signal(signal.SIGTERM)
    near.wait_for("says goodbye", stream="err")
    waiting = [world.keep(connect(near.port())) for _ in range(5)]
    for one in waiting:
        say(one)
    say(client)
    assert registered_at(near) == new.url()


def test_a_gateway_that_stops_is_not_waited_for_when_its_line_is_cut(world):
    server = world.echo_server()
    old, new = world.gateway("--drain", "60"), world.gateway()
    far = world.agent(new, "far")
    way = world.proxy(old.port)
    other = world.agent(old, "far")
    near = world.agent(None, "near", f"0:far:127.0.0.1:{server.port}",
                       url=f"ws://127.0.0.1:{way.port}", options=["--url", new.url()])
    client = world.keep(connect(near.port()))
    say(client)
    since = near.mark()
    old.signal(signal.SIGTERM)
    near.wait_for("says goodbye", since=since, stream="err")
    way.cut()
    wait_registered_at((near,), new)
    assert near.count("resuming the link") == 0
    expect_gone(client)
    echo_once(near.port())
    assert far.is_running() and other.is_running()


def test_a_busy_gateway_is_left_alone_as_long_as_it_says(world):
    """Also when another, which is not there, is tried in the meantime."""
    times = []

    def busy(connection):
        connection.recv(65536)
        times.append(time.monotonic())
        connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\n"
                           b"Content-Length: 0\r\n\r\n")

    server = world.server(busy)
    agent = world.agent(None, "agent", url=f"ws://127.0.0.1:{server.port}", wait=False,
                        options=["--url", f"ws://127.0.0.1:{free_port()}"])
    agent.wait_for(r"refused; trying ws://\S+ in [23]\.\d s")
    eventually(lambda: len(times) >= 2)
    assert times[1] - times[0] >= 2.0


def test_a_gateway_that_everybody_has_left_ends(world):
    old, new = world.gateway("--drain", "4"), world.gateway()
    agents = [world.agent(old, f"agent{number}", options=urls(old, new)) for number in range(3)]
    old.signal(signal.SIGTERM)
    wait_registered_at(agents, new)
    assert old.wait() == 0
    for agent in agents:
        assert agent.count("lost the link|the connection to .* lost") == 0


def test_a_gateway_is_replaced_at_its_own_port(world):
    """One URL is enough: the next process listens there, and the old one ends its sessions."""
    server = world.echo_server()
    listen = f"127.0.0.1:{free_port()}"
    old = world.gateway("--drain", "30", listen=listen)
    far, near = agents_of(world, (old,), server)
    client = world.keep(connect(near.port()))
    say(client)
    marks = [(agent, agent.mark()) for agent in (far, near)]
    old.signal(signal.SIGTERM)
    old.wait_for("1 session has 30 s to finish")
    world.gateway(listen=listen)
    for agent, since in marks:
        agent.wait_registered(40.0, since=since)
    say(client)
    echo_once(near.port())
    client.close()
    assert old.wait() == 0


def test_a_preferred_gateway_is_returned_to(world):
    server = world.echo_server()
    listen = f"127.0.0.1:{free_port()}"
    second = world.gateway()
    options = ["--url", second.url(), "--retry-preferred", "1"]
    far = world.agent(None, "far", url=f"ws://{listen}", options=options)
    near = world.agent(None, "near", f"0:far:127.0.0.1:{server.port}", url=f"ws://{listen}",
                       options=options)
    assert registered_at(far) == registered_at(near) == second.url()
    client = world.keep(connect(near.port()))
    say(client)
    near.wait_for("does not take the agent back yet", stream="err")
    first = world.gateway(listen=listen)
    wait_registered_at((far, near), first, 30.0)
    say(client)
    echo_once(near.port())
    assert second.is_running()


def test_equal_gateways_are_not_returned_to(world):
    gateways = [world.gateway() for _ in range(2)]
    options = [*urls(*gateways), "--url-order", "random", "--retry-preferred", "1"]
    agents = [world.agent(gateways[0], f"agent{number}", options=options) for number in range(8)]
    before = [registered_at(agent) for agent in agents]
    watcher = world.agent(None, "watcher", url=f"ws://127.0.0.1:{free_port()}",
                          options=["--url", gateways[0].url(), "--retry-preferred", "1"])
    watcher.wait_for("does not take the agent back yet", stream="err")
    assert [registered_at(agent) for agent in agents] == before
    assert all(agent.count("^registered as") == 1 for agent in agents)


@pytest.mark.parametrize("scheme", ["ws", "poll+http"])
def test_a_gateway_that_is_silent_keeps_nobody_for_long(world, scheme):
    """It accepts connections and says nothing: 5 s later the agent is at the next one."""
    silent = world.server(lambda connection: receive_all(connection))
    gateway = world.gateway()
    direct = seconds_of(lambda: world.agent(gateway, "direct"))
    took = seconds_of(lambda: world.agent(
        None, "a", url=f"{scheme}://127.0.0.1:{silent.port}",
        options=("--url", f"{scheme}://127.0.0.1:{gateway.port}")).wait_registered(PATIENCE))
    assert silent.accepted == 1
    assert took < 5 + BUSY * direct


def upgrade_and_be_silent(connection):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(65536)
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", head)[1].decode()
    connection.sendall(
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_value(key)}\r\nSec-WebSocket-Protocol: culvert.1\r\n\r\n"
        .encode())
    receive_all(connection)


def test_a_gateway_that_upgrades_and_then_is_silent_keeps_nobody_for_long(world):
    """The answers to the upgrade and to the login share one time."""
    silent = world.server(upgrade_and_be_silent)
    gateway = world.gateway()
    direct = seconds_of(lambda: world.agent(gateway, "direct"))
    took = seconds_of(lambda: world.agent(
        None, "a", url=f"ws://127.0.0.1:{silent.port}",
        options=("--url", gateway.url())).wait_registered(PATIENCE))
    assert silent.accepted == 1
    assert took < 5 + BUSY * direct
