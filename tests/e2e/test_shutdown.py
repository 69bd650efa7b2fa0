"""The end of a process that is asked to end."""

import signal
import socket
import time

import pytest

from culvert.peers import (connect, echo_once, expect_end, expect_gone, expect_session_reset,
                           receive_all, receive_exactly)
from culvert.process import PATIENCE, eventually
from culvert.task import Task
from culvert.wire import Closed, Link

LONG = "120"  # seconds that no test waits


def ask(process, number):
    process.signal(number)
    return time.monotonic()


def refuses(port):
    try:
        connect(port, timeout=1.0).close()
        return False
    except OSError:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("which", ["gateway", "near", "far"])
def test_an_idle_process_ends_at_once(world, number, which):
    tunnel = world.tunnel(world.echo_server().port, options=["--drain", LONG])
    tunnel.check()
    process = getattr(tunnel, which)
    process.signal(number)
    assert process.wait() == 0


def test_an_agent_without_a_gateway_ends_at_once(world):
    agent = world.bare_agent("agent1", "--url", "ws://127.0.0.1:1", "--name", "agent1",
                             "0:agent2:127.0.0.1:22")
    agent.wait_for("refused")
    client = world.keep(connect(agent.port()))
    assert agent.stop() == 0
    expect_gone(client)


@pytest.mark.parametrize("which", ["gateway", "near", "far"])
def test_an_open_session_may_finish(world, secure, which):
    server = world.server()
    tunnel = world.tunnel(server.port, secure=secure, options=["--drain", LONG])
    client = tunnel.connect()
    client.sendall(b"before")
    target = server.accept()
    assert receive_exactly(target, 6) == b"before"
    process = getattr(tunnel, which)
    process.signal(signal.SIGTERM)
    process.wait_for("stop|shut|finish|signal|ending", stream="err")
    client.sendall(b"after")
    assert receive_exactly(target, 5) == b"after"
    answer = Task(lambda: (target.sendall(bytes(300000)), target.close()))
    assert receive_all(client) == bytes(300000)
    answer.finish(PATIENCE)
    client.close()
    assert process.wait() == 0


@pytest.mark.slow
@pytest.mark.parametrize("which", ["gateway", "near", "far"])
def test_a_session_that_does_not_finish_is_ended(world, which):
    server = world.server()
    tunnel = world.tunnel(server.port)
    client = tunnel.connect()
    client.sendall(b"x")
    target = server.accept()
    assert receive_exactly(target, 1) == b"x"
    process = getattr(tunnel, which)
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    expect_gone(client)
    expect_gone(target)


def test_drain_bounds_how_long_a_session_may_go_on(world):
    """Shorter and longer than the default; a second signal does not wait."""
    ends = {}
    for drain in ("0", "1", LONG):
        server = world.server()
        tunnel = world.tunnel(server.port, options=["--drain", drain])
        client = tunnel.connect()
        client.sendall(b"x")
        target = server.accept()
        assert receive_exactly(target, 1) == b"x"
        start = ask(tunnel.gateway, signal.SIGTERM)
        if drain == LONG:
            tunnel.gateway.wait_for(f"1 sessions? ha.* {LONG} s to finish")
            for agent in (tunnel.near, tunnel.far):
                agent.wait_for("says goodbye")
            client.sendall(b"still")
            assert receive_exactly(target, 5) == b"still"
            ask(tunnel.gateway, signal.SIGTERM)
        assert tunnel.gateway.wait() == 0
        ends[drain] = time.monotonic() - start
        expect_gone(client)
    assert ends["1"] > 0.9


@pytest.mark.parametrize("stops, slow", [("far", "gateway"), ("gateway", "near")])
def test_what_a_finished_session_has_sent_still_arrives(world, secure, stops, slow):
    """The target has sent all and closed; a process on the way is asked to end while the next one
    is too slow to take it."""
    size, count = 200_000, 40
    server = world.server()
    tunnel = world.tunnel(server.port, secure=secure)
    clients = [tunnel.connect() for _ in range(count)]
    targets = [server.accept() for _ in range(count)]
    for client in clients:
        client.shutdown(socket.SHUT_WR)
    for target in targets:
        expect_end(target)
    stopping, slower = getattr(tunnel, stops), getattr(tunnel, slow)
    slower.signal(signal.SIGSTOP)
    answers = [Task(lambda target=target: (target.sendall(bytes(size)), target.close()))
               for target in targets]
    stopping.signal(signal.SIGTERM)
    stopping.wait_for("stop|ended", stream="err")
    slower.signal(signal.SIGCONT)
    assert [len(receive_all(client)) for client in clients] == [size] * count
    for answer in answers:
        answer.finish(PATIENCE)
    assert stopping.wait() == 0


@pytest.mark.parametrize("which", ["gateway", "near"])
def test_listeners_close_at_once(world, which):
    server = world.server()
    tunnel = world.tunnel(server.port)
    client = tunnel.connect()
    client.sendall(b"x")
    target = server.accept()
    assert receive_exactly(target, 1) == b"x"
    process = getattr(tunnel, which)
    port = tunnel.gateway.port if which == "gateway" else tunnel.port()
    process.signal(signal.SIGTERM)
    process.wait_for("stop|shut|finish|signal|ending", stream="err")
    eventually(lambda: refuses(port), message="the port is still open")
    client.shutdown(socket.SHUT_WR)
    expect_end(target)
    target.close()
    expect_end(client)
    assert process.wait() == 0


def test_a_frozen_agent_does_not_hold_up_the_gateway(world):
    tunnel = world.tunnel(world.echo_server().port, options=["--drain", LONG])
    tunnel.check()
    tunnel.far.signal(signal.SIGSTOP)
    ask(tunnel.gateway, signal.SIGTERM)
    assert tunnel.gateway.wait() == 0


def test_a_gateway_tells_its_agents(world):
    """They come back by themselves to the one that is started in its place."""
    server = world.echo_server()
    tunnel = world.tunnel(server.port)
    port = tunnel.gateway.port
    marks = [(agent, agent.mark()) for agent in (tunnel.far, tunnel.near)]
    assert tunnel.gateway.stop() == 0
    world.gateway(listen=f"127.0.0.1:{port}")
    for agent, since in marks:
        agent.wait_registered(since=since)
    echo_once(tunnel.port())


def test_a_stopping_agent_takes_no_new_session(world):
    server = world.server()
    tunnel = world.tunnel(server.port, options=["--drain", LONG])
    client = tunnel.connect()
    client.sendall(b"x")
    target = server.accept()
    assert receive_exactly(target, 1) == b"x"
    tunnel.far.signal(signal.SIGTERM)
    tunnel.far.wait_for("stopping", stream="err")
    expect_session_reset(tunnel.port())
    assert server.accepted == 1
    client.sendall(b"y")
    assert receive_exactly(target, 1) == b"y"
    client.close()
    target.close()
    assert tunnel.far.wait() == 0


def test_nobody_logs_in_at_a_stopping_gateway(world):
    """Not even on a connection that was there before."""
    server = world.server()
    tunnel = world.tunnel(server.port, options=["--drain", LONG])
    client = tunnel.connect()
    client.sendall(b"x")
    target = server.accept()
    link = world.keep(Link.connect(tunnel.gateway))
    tunnel.gateway.signal(signal.SIGTERM)
    tunnel.gateway.wait_for("to finish", stream="err")
    try:
        answer = link.shake_hands("late")
        assert (answer["Ok"], answer["Message"]) == (False, "the gateway is stopping")
    except (Closed, OSError):
        pass
    assert not tunnel.gateway.count("agent.registered .*agent=late")
    client.close()
    target.close()
    assert tunnel.gateway.wait() == 0
