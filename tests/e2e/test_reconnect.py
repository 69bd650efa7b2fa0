"""Links that are lost and cannot be resumed, and gateways that are not there. What becomes of
those that can be resumed is in test_resume.py."""

import re
import signal
import threading
import time

import pytest

from culvert.peers import (connect, echo_once, expect_gone, expect_reset,
                           expect_session_reset, free_port, receive_exactly)
from culvert.process import eventually
from culvert.services import WebServer


NO_RESUME = ("--resume-window", "0")


def works(port):
    try:
        echo_once(port)
        return True
    except (AssertionError, OSError):
        return False


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_gateway_that_comes_back(world, secure, how):
    server = world.echo_server()
    certificate = world.authority.issue(world.unique("server"))
    port = free_port()
    options = {"secure": secure, "certificate": certificate, "listen": f"127.0.0.1:{port}"}
    gateway = world.gateway(*NO_RESUME, **options)
    far = world.agent(gateway, "agent2")
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{server.port}")
    for _ in range(2):
        client = world.keep(connect(near.port()))
        client.sendall(b"x")
        receive_exactly(client, 1)
        marks = [(agent, agent.mark()) for agent in (far, near)]
        if how == "kill":
            gateway.kill()
            expect_reset(client)
        else:
            client.close()
            assert gateway.stop() == 0
        for agent, since in marks:
            agent.wait_for("lost|closed|ended|gone|shut|stop", since=since, stream="err")
        gateway = world.gateway(*NO_RESUME, **options)
        for agent, since in marks:
            agent.wait_registered(since=since)
            agent.wait_for("INFO agent: registered as", since=since, stream="err")
        echo_once(near.port())
    assert all(agent.count("INFO agent: registered as") == 2 for agent in (far, near))


def test_a_short_wait_is_not_called_none(world):
    """A gateway that was started again does not know the link; the next try comes at once."""
    port = free_port()
    gateway = world.gateway(listen=f"127.0.0.1:{port}")
    agent = world.agent(gateway, "agent1")
    gateway.kill()
    since = agent.mark()
    world.gateway(listen=f"127.0.0.1:{port}")
    agent.wait_for("cannot be resumed at .*; trying again in less than 0.1 s", timeout=30.0,
                   since=since, stream="err")
    agent.wait_registered(since=since, timeout=30.0)
    assert "in 0.0 s" not in agent.output("err")


def test_a_connection_made_while_the_link_is_away_waits(world):
    server = world.echo_server()
    gateway = world.gateway(*NO_RESUME)
    proxy = world.proxy(gateway.port)
    world.agent(gateway, "agent2")
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{server.port}",
                       url=f"ws://127.0.0.1:{proxy.port}")
    since = near.mark()
    proxy.close()
    near.wait_for("lost the link", since=since, stream="err")
    waiting = [world.keep(connect(near.port())) for _ in range(20)]
    for number, client in enumerate(waiting):
        client.sendall(b"%04d" % number)
    world.proxy(gateway.port, own_port=proxy.port)
    for number, client in enumerate(waiting):
        assert receive_exactly(client, 4) == b"%04d" % number


def test_a_connection_made_before_the_first_registration_waits(world):
    server = world.echo_server()
    gateway = world.gateway()
    world.agent(gateway, "agent2")
    port = free_port()
    near = world.bare_agent("agent1", "--url", f"ws://127.0.0.1:{port}", "--name", "agent1",
                            f"0:agent2:127.0.0.1:{server.port}")
    client = world.keep(connect(near.port()))
    client.sendall(b"early")
    near.wait_for("refused", stream="err")
    world.proxy(gateway.port, own_port=port)
    near.wait_registered()
    assert receive_exactly(client, 5) == b"early"


def test_connections_that_wait_are_bounded(world):
    """Thousands of them while the link is away take no memory to speak of."""
    near = world.bare_agent("agent1", "--url", f"ws://127.0.0.1:{free_port()}", "--name",
                            "agent1", "0:agent2:127.0.0.1:9")
    port = near.port()
    before = near.memory()
    clients = []
    for _ in range(2000):
        try:
            clients.append(world.keep(connect(port, timeout=0.2)))
            clients[-1].setblocking(False)
            clients[-1].send(bytes(65536))
        except OSError:
            break
    assert len(clients) > 10
    assert near.is_running()
    assert near.memory() - before < 32 * 1024 * 1024


def test_a_gateway_that_is_not_there_at_start(world):
    port = free_port()
    agent = world.bare_agent("agent1", "--url", f"ws://127.0.0.1:{port}", "--name", "agent1")
    agent.wait_for(rf"127\.0\.0\.1:{port}.*refused", stream="err")
    gateway = world.gateway(listen=f"127.0.0.1:{port}")
    agent.wait_registered()
    assert gateway.is_running()


def test_a_gateway_whose_name_does_not_resolve(world):
    agent = world.bare_agent("agent1", "--url", "ws://no-such-host.invalid:8080", "--name",
                             "agent1")
    agent.wait_for(r"no-such-host\.invalid", stream="err")
    assert agent.is_running()


def test_a_server_that_is_no_gateway(world, services, large_file):
    web = WebServer(services, large_file)
    agent = world.bare_agent("agent1", "--url", f"ws://127.0.0.1:{web.port}/small", "--name",
                             "agent1")
    agent.wait_for(r"not a culvert gateway|no culvert gateway|is no gateway", stream="err")
    assert agent.is_running()


@pytest.mark.parametrize("answer", [
    b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
    b"\xff" * 100, b"HTTP/1.1 " + b"x" * 100000],
    ids=["nothing", "ssh", "http", "wrong-accept", "binary", "endless"])
def test_a_server_that_says_anything(world, answer):
    def handle(connection):
        connection.recv(4096)
        connection.sendall(answer)

    server = world.server(handle)
    agent = world.bare_agent("agent1", "--url", f"ws://127.0.0.1:{server.port}", "--name",
                             "agent1")
    agent.wait_for(rf"127\.0\.0\.1:{server.port}", stream="err")
    eventually(lambda: server.accepted >= 3, message="the agent did not try again")
    assert agent.is_running()


@pytest.mark.slow
def test_a_server_that_never_answers(world):
    """An agent does not wait for it for ever."""
    server = world.server()
    agent = world.bare_agent("agent1", "--url", f"ws://127.0.0.1:{server.port}", "--name",
                             "agent1")
    server.accept()
    agent.wait_for("time|did not answer|no answer", timeout=90.0, stream="err")
    server.accept()


def test_back_off(world):
    """The waits grow, and no two agents dial in step."""
    times = {}
    lock = threading.Lock()

    def refuse(name):
        def handle(connection):
            with lock:
                times[name].append(time.monotonic())
            connection.close()
        return handle

    agents = []
    for name in ("agent1", "agent2"):
        times[name] = []
        server = world.server(refuse(name))
        agents.append(world.bare_agent(name, "--url", f"ws://127.0.0.1:{server.port}", "--name",
                                       name, "--transport", "websocket"))
    eventually(lambda: all(len(seen) >= 6 for seen in times.values()),
               message="the agents did not go on trying")
    gaps = {name: [after - before for before, after in zip(seen, seen[1:6])]
            for name, seen in times.items()}
    for agent in agents:
        waits = [float(one) for one in
                 re.findall(r"trying again in (\d+\.\d) s", agent.output("err"))]
        assert waits[0] < 1.0, waits
        assert sum(waits[3:5]) > 2 * sum(waits[0:2]), waits
    assert any(abs(one - other) > 0.02 for one, other in zip(*gaps.values())), gaps


def test_a_link_that_is_cut_in_the_middle(world, secure):
    server = world.echo_server()
    gateway = world.gateway(*NO_RESUME, secure=secure)
    proxy = world.proxy(gateway.port)
    scheme = "wss" if secure else "ws"
    far = world.agent(gateway, "agent2", url=f"{scheme}://127.0.0.1:{proxy.port}",
                      options=["--transport", "websocket"])
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{server.port}")
    for _ in range(3):
        client = world.keep(connect(near.port()))
        client.sendall(b"x" * 1000)
        receive_exactly(client, 1000)
        since = far.mark()
        proxy.cut()
        expect_gone(client)
        far.wait_registered(since=since)
        echo_once(near.port())


def test_a_gateway_that_falls_silent(world, secure):
    """Data that is not answered for a few seconds tells the agent that the link is dead."""
    tunnel = world.tunnel(world.echo_server().port, options=NO_RESUME, secure=secure)
    client = tunnel.connect()
    client.sendall(b"x")
    receive_exactly(client, 1)
    since = tunnel.near.mark()
    tunnel.gateway.signal(signal.SIGSTOP)
    client.sendall(b"y")
    expect_reset(client)
    tunnel.near.wait_for("lost the link.*silent", since=since, stream="err")
    tunnel.gateway.signal(signal.SIGCONT)
    tunnel.near.wait_registered(since=since)
    eventually(lambda: works(tunnel.port()), message="no session came through")


def test_a_gateway_that_falls_silent_soon_after_it_spoke(world):
    """An agent that has nothing to send asks soon after the last message, then ever more seldom."""
    tunnel = world.tunnel(world.echo_server().port, options=NO_RESUME)
    echo_once(tunnel.port())
    since = tunnel.near.mark()
    tunnel.gateway.signal(signal.SIGSTOP)
    tunnel.near.wait_for("lost the link.*silent", since=since, stream="err")
    tunnel.gateway.signal(signal.SIGCONT)
    tunnel.near.wait_registered(since=since)


def test_a_gateway_that_falls_silent_under_bulk(world):
    """A carrier that takes nothing cannot be pinged; it is given up all the same."""
    tunnel = world.tunnel(world.echo_server().port, options=NO_RESUME)
    client = tunnel.connect()
    client.sendall(b"x")
    receive_exactly(client, 1)
    since = tunnel.near.mark()
    tunnel.gateway.signal(signal.SIGSTOP)
    client.setblocking(False)

    def is_stuck():
        try:
            client.send(bytes(1 << 20))
        except BlockingIOError:
            return True
        return False

    eventually(is_stuck, message="the tunnel takes data for ever")
    tunnel.near.wait_for("lost the link.*silent", since=since, stream="err")
    tunnel.gateway.signal(signal.SIGCONT)
    tunnel.near.wait_registered(since=since)


def test_an_agent_that_reconnects_for_the_other_side(world):
    """The asking agent keeps working while the dialling one comes and goes."""
    server = world.echo_server()
    gateway = world.gateway()
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{server.port}")
    for _ in range(3):
        expect_session_reset(near.port())
        far = world.agent(gateway, "agent2")
        echo_once(near.port())
        far.kill()


def test_an_agent_that_was_up_keeps_trying_when_it_is_refused(world):
    """Only at its first start is a refusal the end: later it may be a mistake that somebody mends."""
    options = {"listen": f"127.0.0.1:{free_port()}", "data": world.path("data"), "is_open": False}
    gateway = world.gateway(*NO_RESUME, **options)
    agent = world.agent(gateway, "agent1", key=gateway.add_key("agent1"))
    gateway.kill()
    assert gateway.key("revoke", "agent1").returncode == 0
    world.gateway(*NO_RESUME, **options)
    eventually(lambda: agent.count("the gateway refused: .*trying again") >= 2,
               message="the agent does not try again")
    assert agent.is_running()


def test_a_connection_waits_no_longer_than_the_link_is_kept(world):
    server = world.echo_server()
    gateway = world.gateway("--resume-window", "2s")
    proxy = world.proxy(gateway.port)
    world.agent(gateway, "agent2")
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{server.port}",
                       url=f"ws://127.0.0.1:{proxy.port}")
    echo_once(near.port())
    proxy.close()
    near.wait_for("cannot resume|lost the", stream="err")
    with connect(near.port()) as client:
        expect_reset(client, 30.0)
    near.wait_for("the gateway was not there in time", stream="err")
