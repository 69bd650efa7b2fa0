"""A gateway that is wrong: the agent ends the link, says why, dials again, and lives."""

import time

import pytest

from culvert.peers import expect_session_gone
from culvert.process import eventually
from culvert.wire import (ACK, BINARY, CLOSE, CONTINUATION, CREDIT, DATA, EARLY, EXPRESS, FIN,
                          GOAWAY, HANDSHAKE, OPEN, RECEIVED, TEXT, answer_upgrade, encode, frame)
from culvert.world import MEGABYTE

WELCOME = {"Ok": True, "Message": "", "Link": bytes(16), "Secret": bytes(32), "Epoch": 1,
           "First": 1, "Received": 0, "Keepalive": 20, "Resume": 0, "Window": 262144}


def serve(world, data, is_welcome=True):
    """A false gateway that sends `data` to whoever comes and then waits for the end."""

    def handle(connection):
        answer_upgrade(connection)
        if is_welcome:
            connection.sendall(frame(BINARY, encode(ACK, WELCOME), masked=False))
        connection.sendall(data)
        while connection.recv(65536):
            pass

    return world.server(handle)


def server_frame(payload):
    return frame(BINARY, payload, masked=False)


BAD = {
    "masked": frame(BINARY, encode(RECEIVED, [0])),
    "text": frame(TEXT, b"hello", masked=False),
    "endless": frame(BINARY, b"\x03" * 1000, masked=False, declared=2 ** 62),
    "continuation-of-nothing": frame(CONTINUATION, b"x", masked=False),
    "close": frame(CLOSE, (1011).to_bytes(2, "big") + b"no reason", masked=False),
    "truncated": server_frame(b"\x02\x97\x01"),
    "gigabytes": server_frame(b"\x03\x92\x01\xc6\xff\xff\xff\xff"),
    "deep": server_frame(b"\x02" + b"\x91" * 5000),
    "data-for-nothing": server_frame(encode(DATA, [98, b"x"])),
    "wrong-parity": server_frame(encode(OPEN, [1, "tcp", "agent1", "127.0.0.1", 9, "", {}])),
    "ack-for-nothing": server_frame(encode(ACK, [1, True, 0, ""])),
    "credit-for-nothing": server_frame(encode(CREDIT, [1, 1])),
    "received-too-much": server_frame(encode(RECEIVED, [5])),
    "a-handshake": server_frame(encode(HANDSHAKE, {"Version": "1", "Name": "x"})),
    "welcome-again": server_frame(encode(ACK, WELCOME)),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_an_agent_leaves_a_gateway_that_is_wrong(world, data):
    server = serve(world, data)
    agent = world.bare_agent("agent1", "--url", f"ws://127.0.0.1:{server.port}", "--name",
                             "agent1", "--transport", "websocket", "0:agent2:127.0.0.1:9")
    eventually(lambda: server.accepted >= 3, message="the agent did not dial again")
    assert agent.is_running()
    assert agent.output("err")
    assert agent.memory() < 64 * MEGABYTE


@pytest.mark.parametrize("welcome", [
    b"\xff", b"\xff\x80", encode(ACK, {**WELCOME, "Window": "x"}),
encode(FIN, [2]), b"\xff\xdf\xff\xff\xff\xff"],
    ids=["no-body", "empty", "wrong-kind", "other-message", "gigabytes"])
def test_a_welcome_that_is_none(world, welcome):
    server = serve(world, server_frame(welcome), is_welcome=False)
    agent = world.bare_agent("agent1", "--url", f"ws://127.0.0.1:{server.port}", "--name",
                             "agent1", "--transport", "websocket")
    eventually(lambda: server.accepted >= 2, message="the agent did not dial again")
    agent.wait_for(f"127.0.0.1:{server.port}", stream="err")
    assert agent.is_running()
    assert "registered as" not in agent.output("out")


def test_a_gateway_that_asks_for_forbidden_targets(world):
    """The whitelist is the agent's own: it does not trust the gateway."""
    secret = world.server()
    answers = []

    def handle(connection):
        answer_upgrade(connection)
        connection.sendall(server_frame(encode(ACK, WELCOME)) + server_frame(
            encode(OPEN, [2, "tcp", "agent1", "127.0.0.1", secret.port, "", {}])))
        while data := connection.recv(65536):
            answers.append(data)

    server = world.server(handle)
    agent = world.bare_agent("agent1", "--url", f"ws://127.0.0.1:{server.port}", "--name",
                             "agent1", "--transport", "websocket", "--allow", "127.0.0.1:1")
    agent.wait_for("allow|forbid|whitelist|refus", stream="err")
    eventually(lambda: len(answers) >= 2, message="the open was not answered")
    assert secret.accepted == 0


def test_clients_of_a_false_gateway_are_freed(world):
    """It registers the agent and breaks the protocol as soon as a session is opened."""

    def handle(connection):
        answer_upgrade(connection)
        connection.sendall(server_frame(encode(ACK, WELCOME)))
        connection.recv(65536)
        connection.recv(65536)
        connection.sendall(server_frame(b"\x03\xc1"))
        while connection.recv(65536):
            pass

    server = world.server(handle)
    agent = world.bare_agent("agent1", "--url", f"ws://127.0.0.1:{server.port}", "--name",
                             "agent1", "--transport", "websocket", "0:agent2:127.0.0.1:9")
    agent.wait_registered()
    expect_session_gone(agent.port())
    assert agent.is_running()


@pytest.mark.parametrize("count", [1, 2])
def test_gateways_that_send_their_agents_away_at_once(world, count):
    """The agent goes, but it does not run in circles."""
    times = []

    def handle(connection):
        answer_upgrade(connection)
        times.append(time.monotonic())
        connection.sendall(server_frame(encode(ACK, WELCOME)) +
                           server_frame(encode(GOAWAY, ["go away", 0])))
        while connection.recv(65536):
            pass

    servers = [world.server(handle) for _ in range(count)]
    urls = [word for server in servers for word in ("--url", f"ws://127.0.0.1:{server.port}")]
    agent = world.bare_agent("agent1", *urls, "--name", "agent1", "--transport", "websocket")
    eventually(lambda: len(times) >= 5, message="the agent did not go")
    assert times[4] - times[0] > (0.5 if count == 1 else 3.0), times
    assert agent.is_running()


def test_a_gateway_that_resumes_a_link_and_cuts_it_again_and_again(world):
    """A lost connection is replaced at once, but not for ever."""
    times = []

    def handle(connection):
        answer_upgrade(connection)
        times.append(time.monotonic())
        connection.sendall(server_frame(encode(ACK, {**WELCOME, "Epoch": len(times),
                                                     "Resume": 60})))
        connection.recv(65536)

    server = world.server(handle)
    agent = world.bare_agent("agent1", "--url", f"ws://127.0.0.1:{server.port}", "--name",
                             "agent1", "--transport", "websocket")
    eventually(lambda: len(times) >= 36, 90.0, "the agent did not come back")
    assert times[20] - times[0] < 45.0, times  # backing off would take minutes
    assert times[35] - times[33] > 0.9, times
    assert agent.count("^registered as") == 1
    assert agent.count("resumed the link") >= 30


# ---- express connections ----


def serve_express(world, answer):
    """A false gateway that asks for an express connection again and again. `answer`: what it sends
    on whatever comes then."""
    first = []

    def handle(connection):
        answer_upgrade(connection)
        if first:
            connection.recv(65536)
            connection.sendall(answer)
        else:
            first.append(connection)
            welcome = {**WELCOME, "Resume": 60, "Express": True}
            connection.sendall(server_frame(encode(ACK, welcome)))
            connection.sendall(server_frame(encode(EXPRESS, [1]) * 1000))
        while connection.recv(65536):
            pass

    return world.server(handle)


REFUSAL = server_frame(encode(ACK, {"Ok": False, "Code": 10, "Message": "no more of them"}))


@pytest.mark.parametrize("answer", [b"", REFUSAL], ids=["silent", "refusing"])
def test_an_agent_is_asked_for_many_express_connections(world, answer):
    """It tries once, and goes on with what it has."""
    server = serve_express(world, answer)
    agent = world.bare_agent("agent1", "--url", f"ws://127.0.0.1:{server.port}", "--name",
                             "agent1", "--transport", "websocket")
    agent.wait_for("registered as agent1")
    eventually(lambda: server.accepted == 2, message="it did not try")
    agent.stop()
    assert server.accepted == 2
    assert agent.count("lost the connection") == 0


@pytest.mark.parametrize("data", [encode(DATA, [2, b"x"]), encode(EARLY, [0, 0]), b"\xC1"])
def test_an_express_connection_that_is_wrong_ends_the_link(world, data):
    welcome = server_frame(encode(ACK, {**WELCOME, "Resume": 60}))
    server = serve_express(world, welcome + server_frame(data))
    agent = world.bare_agent("agent1", "--url", f"ws://127.0.0.1:{server.port}", "--name",
                             "agent1", "--transport", "websocket")
    agent.wait_for("registered as agent1")
    agent.wait_for("lost the link to", stream="err")
    assert agent.is_running()
