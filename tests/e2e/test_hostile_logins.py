"""Who logs in to do harm: the agents that are there, and those that come beside, do not suffer."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from culvert.peers import connect, echo_once, receive_exactly
from culvert.process import eventually
from culvert.wire import (ACK, BINARY, MESSAGE_PING, MESSAGE_PONG, Closed, Link, answer_upgrade,
                          encode, frame)

NAME_TAKEN = 14
WELCOME = {"Ok": True, "Message": "", "Link": bytes(16), "Secret": bytes(32), "Epoch": 1,
           "First": 1, "Received": 0, "Keepalive": 20, "Resume": 0, "Window": 262144}


def say(client, word=b"still there"):
    client.sendall(word)
    assert receive_exactly(client, len(word)) == word


# ---- probes ----


def ask_for_name(world, gateway, name, seconds=5.0, most=300):
    """Logins with a name that is taken, each as soon as the one before was refused."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end and count < most:
        link = world.keep(Link.connect(gateway))
        link.send_handshake(name)
        assert link.receive()[1].get("Code") == NAME_TAKEN
        link.close()
        count += 1
    return count


def test_a_live_name_cannot_be_taken_by_asking_for_it_often(world):
    server = world.echo_server()
    gateway = world.gateway()
    far = world.agent(gateway, "far")
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{server.port}")
    client = world.keep(connect(near.port()))
    say(client)
    assert ask_for_name(world, gateway, "far") >= 1
    say(client)
    echo_once(near.port())
    assert far.count("lost the") == 0 and far.count("^registered as") == 1


def test_a_probe_is_shared(world):
    """The holder is pinged once a second, and each answer is for all who wait."""
    gateway = world.gateway()
    holder = world.keep(Link.connect(gateway))
    assert holder.shake_hands("agent")["Ok"]
    pings = []

    def answer():
        try:
            while True:
                kind, body = holder.receive()
                if kind == MESSAGE_PING:
                    pings.append(time.monotonic())
                    holder.send_message(MESSAGE_PONG, [body[0]])
        except (Closed, OSError):
            pass

    threading.Thread(target=answer, daemon=True).start()
    start = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        counts = list(pool.map(lambda _: ask_for_name(world, gateway, "agent", 3.0), range(10)))
    took = time.monotonic() - start
    assert min(counts) >= 1
    # One when the link begins, and one for each second begun.
    assert len(pings) <= took + 2


def test_an_agent_does_not_cut_its_link_for_its_gateways_pings(world):
    answers = []

    def handle(connection):
        answer_upgrade(connection)
        pings = b"".join(encode(MESSAGE_PING, [number + 1]) for number in range(500))
        connection.sendall(frame(BINARY, encode(ACK, WELCOME) + pings, masked=False))
        link = Link(connection, b"", "")
        try:
            while True:
                kind, body = link.receive()
                if kind == MESSAGE_PONG:
                    answers.append(body[0])
        except (Closed, TimeoutError):
            pass

    server = world.server(handle)
    agent = world.agent(None, "agent", url=f"ws://127.0.0.1:{server.port}")
    eventually(lambda: 500 in answers, 20.0, "the last ping was not answered")
    assert server.accepted == 1
    assert agent.count("lost the") == 0
