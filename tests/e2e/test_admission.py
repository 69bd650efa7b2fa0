"""How many agents may log in at the same time, and what becomes of the others."""

import re
import time
from email.utils import formatdate

import pytest

from culvert.peers import connect
from culvert.process import eventually
from culvert.wire import Link, upgrade_request


def answer_to_upgrade(world, port):
    """The head of the gateway's answer."""
    connection = world.keep(connect(port))
    connection.sendall(upgrade_request())
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(65536)
        assert data, head
        head += data
    return head.decode()


@pytest.mark.threads
def test_more_than_are_admitted_are_told_when_to_come_back(world):
    gateway = world.gateway("--handshakes-per-second", "1", threads=2)
    answers = [answer_to_upgrade(world, gateway.port) for _ in range(5)]
    assert [answer.split()[1] for answer in answers] == ["101"] + ["503"] * 4
    times = [int(re.search(r"^Retry-After: (\d+)\r$", answer, re.M)[1]) for answer in answers[1:]]
    assert times == [1, 2, 3, 4]


def test_zero_is_no_limit(world):
    gateway = world.gateway("--handshakes-per-second", "0")
    links = [world.keep(Link.connect(gateway)) for _ in range(50)]
    assert all(link.shake_hands(f"agent{number}")["Ok"] for number, link in enumerate(links))


def test_agents_come_back_until_all_are_there(world):
    gateway = world.gateway("--handshakes-per-second", "1")
    agents = [world.agent(gateway, f"agent{number}", wait=False) for number in range(8)]
    for agent in agents:
        agent.wait_registered(timeout=60)
    waited = [agent for agent in agents if agent.count("the server is busy and wants us back")]
    assert 1 <= len(waited) <= 7


@pytest.mark.parametrize("scheme", ["ws", "poll+http"])
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize("is_date", [False, True], ids=["seconds", "date"])
def test_an_agent_does_what_retry_after_says(world, scheme, status, is_date):
    times = []

    def busy(connection):
        connection.recv(65536)
        times.append(time.monotonic())
        # Only the difference of the two dates matters.
        now = 784111777
        wait = formatdate(now + 4, usegmt=True) if is_date else 4
        connection.sendall(f"HTTP/1.1 {status}\r\nDate: {formatdate(now, usegmt=True)}\r\n"
                           f"Retry-After: {wait}\r\nContent-Length: 0\r\n\r\n".encode())

    server = world.server(busy)
    agent = world.agent(None, "agent", url=f"{scheme}://127.0.0.1:{server.port}", wait=False)
    agent.wait_for(r"wants us back after 4 s; trying again in [456]\.\d s")
    eventually(lambda: len(times) > 1, 30.0, "the agent did not come back")
    assert times[1] - times[0] >= 4.0


def test_an_agent_stays_away_as_long_as_it_was_told(world):
    times = []

    def busy(connection):
        connection.recv(65536)
        times.append(time.monotonic())
        seconds = 2 if len(times) == 1 else 100000
        connection.sendall(f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {seconds}\r\n"
                           "Content-Length: 0\r\n\r\n".encode())

    server = world.server(busy)
    agent = world.agent(None, "agent", url=f"ws://127.0.0.1:{server.port}", wait=False)
    agent.wait_for(r"wants us back after 2 s; trying again in [23]\.\d s")
    wait = agent.wait_for(r"wants us back after 300 s; trying again in (\d+)\.\d s")
    assert times[1] - times[0] >= 2.0
    assert 300 <= int(wait[1]) <= 376
    assert server.accepted == 2
