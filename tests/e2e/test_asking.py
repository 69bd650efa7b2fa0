"""Sessions that wait for a policy script's answer: what they hold, and what happens meanwhile."""

import os

import pytest

from culvert.peers import (connect, echo_once, expect_gone, expect_session_gone,
                           in_parallel, receive_exactly, reset)
from culvert.process import eventually
from culvert.wire import ACK, OPEN, Link, encode

MOST_QUESTIONS = 256  # of one agent that may wait
LIMIT = 10

SLOW = """
function connect(request)
  print("asked")
  local start = os.clock()
  while os.clock() - start < {seconds} do end
  return request:key() ~= "no"
end
"""


def slow_tunnel(world, seconds, *rules, threads=1, options=()):
    """A gateway that asks one worker, which takes its time, and the echo server behind it."""
    script = world.write("slow.lua", SLOW.format(seconds=seconds))
    gateway = world.gateway("--auth-lua", script, "--lua-workers", "1", *options, policy=None,
                            threads=threads)
    server = world.echo_server()
    far = world.agent(gateway, "agent2")
    near = world.agent(gateway, "agent1",
                       *[rule.format(port=server.port) for rule in rules])
    return gateway, near, far, server


@pytest.mark.threads
@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_client_sends_at_once_waits_for_the_answer(world, threads):
    _, near, _, _ = slow_tunnel(world, 0.3, "0:agent2:127.0.0.1:{port}", threads=threads)
    data = os.urandom(200_000)
    with connect(near.port()) as client:
        client.sendall(data)
        assert receive_exactly(client, len(data)) == data


def test_a_half_close_waits_for_the_answer_too(world):
    _, near, _, _ = slow_tunnel(world, 0.3, "0:agent2:127.0.0.1:{port}")
    with connect(near.port()) as client:
        client.sendall(b"all of it")
        client.shutdown(1)
        assert receive_exactly(client, 9) == b"all of it"
        assert client.recv(1) == b""


@pytest.mark.parametrize("said, dialled", [(b"", 1), (b"x", 2)], ids=["silent", "said something"])
def test_a_client_that_leaves_is_dialled_for_only_if_it_sent_something(world, said, dialled):
    """What it sent before its reset is delivered (docs/protocol.md)."""
    gateway, near, _, server = slow_tunnel(world, 0.5, "0:agent2:127.0.0.1:{port}")
    client = connect(near.port())
    client.sendall(said)
    gateway.wait_for("script: asked")
    reset(client)
    echo_once(near.port())  # asked behind the first, so that one was answered before
    eventually(lambda: server.accepted >= dialled)
    assert server.accepted == dialled


def test_an_agent_that_goes_takes_its_questions_along(world):
    gateway, near, _, server = slow_tunnel(world, 0.5, "0:agent2:127.0.0.1:{port}",
                                           options=["--resume-window", "0"])
    for _ in range(3):
        world.keep(connect(near.port()))  # says nothing, so that there is nothing to be delivered
    gateway.wait_for("script: asked")
    near.kill()
    gateway.wait_for("agent.unregistered .*agent=agent1 ")
    again = world.agent(gateway, "agent3", f"0:agent2:127.0.0.1:{server.port}")
    echo_once(again.port())
    assert server.accepted == 1


def test_a_gateway_stops_while_it_asks(world):
    gateway, near, _, _ = slow_tunnel(world, 2, "0:agent2:127.0.0.1:{port}")
    clients = [world.keep(connect(near.port())) for _ in range(5)]
    for client in clients:
        client.sendall(b"x")
    gateway.wait_for("script: asked")
    gateway.ask_to_stop()
    gateway.wait()
    expect_gone(clients[0])
    near.stop()  # the others may have come to it behind the goodbye, and wait for another gateway
    for client in clients[1:]:
        expect_gone(client)


def test_the_script_sees_the_key_and_its_no_is_told(world):
    gateway, near, _, _ = slow_tunnel(world, 0.01, "0:no@agent2:127.0.0.1:{port}",
                                      "0:other@agent2:127.0.0.1:{port}")
    echo_once(near.port(1))
    expect_session_gone(near.port(0))
    near.wait_for("no session to agent2:.*: the script refuses it")
    gateway.wait_for('session.refused .*reason="the script refuses it"')
    eventually(lambda: "no@" not in gateway.output(), message="the key was logged")


def test_answered_questions_do_not_count(world):
    """An agent may ask again and again, as long as not too many of its questions wait."""
    script = world.write("yes.lua", "function connect() return true end\n")
    gateway = world.gateway("--auth-lua", script, policy=None, threads=1)
    tunnel = world.tunnel(world.echo_server().port, gateway=gateway)
    in_parallel(lambda _: tunnel.check(), range(MOST_QUESTIONS + 50), workers=20)


def test_questions_of_one_agent_are_bounded(world):
    """Another agent's next session is asked about all the same."""
    gateway, _, _, server = slow_tunnel(world, 2, "0:agent2:127.0.0.1:{port}")
    link = world.keep(Link.connect(gateway))
    assert link.shake_hands("rogue")["Ok"] is True
    link.send(b"".join(encode(OPEN, [sid, "tcp", "agent2", "127.0.0.1", server.port, "", {}])
                       for sid in range(1, 2 * MOST_QUESTIONS + 8, 2)))
    refused = [link.wait_for(ACK) for _ in range(4)]
    assert {tuple(body[1:4]) for body in refused} == {
        (False, LIMIT, "too many of this agent's sessions wait for the policy script")}
    assert [body[0] for body in refused] == [2 * MOST_QUESTIONS + 1 + 2 * n for n in range(4)]
