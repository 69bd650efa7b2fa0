"""The agent's API under callers who mean no good, or do badly: the agent goes on with its work."""

import contextlib
import http.client
import json
import socket
import time

import pytest

from culvert.peers import echo_once
from culvert.process import PATIENCE, eventually
from culvert.timing import BUSY, seconds_of

TOKEN = "a-token-of-the-tests"
CALLER = f"Authorization: Bearer {TOKEN}\r\n"
MOST_CONNECTIONS = 64


class Site:
    """An agent with an API and one forward to an echo server."""

    def __init__(self, world):
        self.world = world
        self.gateway = world.gateway()
        world.agent(self.gateway, "agent2")
        echo = world.echo_server().port
        self.agent = world.agent(
            self.gateway, "agent1", f"0:agent2:127.0.0.1:{echo}", options=[
                "--api", "127.0.0.1:0", "--api-token-file", world.write("token", TOKEN + "\n")])
        self.port = int(self.agent.wait_for(r"^api on http://127\.0\.0\.1:(\d+)$", stream="out")[1])

    def raw(self, data=b""):
        connection = self.world.keep(
            socket.create_connection(("127.0.0.1", self.port), timeout=20))
        connection.sendall(data if isinstance(data, bytes) else data.encode())
        return connection

    def head(self, method="GET", path="/v1/status", more=CALLER):
        return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{more}\r\n"

    def call(self, path="/v1/status"):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                                ) as connection:
            connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
            answer = connection.getresponse()
            assert answer.status == 200
            return json.loads(answer.read())

    def check(self):
        """The API answers, and a session works."""
        assert self.call()["connected"]
        echo_once(self.agent.port())


@pytest.fixture
def site(world):
    return Site(world)


def read_all(connection):
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("data, status", [
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400), (b"\x00" * 100, 400),
    (b"SSH-2.0-OpenSSH_9.2\r\n", 400), (b"GET /v1/status HTTP/2.0\r\n\r\n", 400),
    (b"GET /v1/status HTTP/1.1\r\n\r\n", 400), (b"GET /v1/status HTTP/1.1\nHost: a\n\n", 400),
    (b"GET /" + b"a" * 20000, 431), (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 110, 431),
    (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400)],
    ids=range(9))
def test_what_is_no_request(site, data, status):
    answer = read_all(site.raw(data))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == status
    site.check()


@pytest.mark.slow
def test_slow_requests_end(site):
    """A head, a body, or nothing at all, that does not go on is given up after 10 seconds."""
    begun = time.monotonic()
    body = "Content-Type: application/json\r\nContent-Length: 20\r\n"
    silent = site.raw()
    head = site.raw(site.head()[:-2])
    half = site.raw(site.head("POST", "/v1/forwards", CALLER + body) + "{\"local\":")
    site.check()
    assert read_all(silent) == b""
    for connection in (head, half):
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")
    assert 9 < time.monotonic() - begun < 10 + PATIENCE
    site.check()


def test_many_connections_that_say_nothing(site):
    """They hold no more than their share of the agent, and keep nobody out."""
    before = site.agent.descriptors()
    for _ in range(4 * MOST_CONNECTIONS):
        site.raw()
    site.check()
    assert site.agent.descriptors() <= before + MOST_CONNECTIONS + 8


def test_tokens_are_guessed_in_vain(site):
    """And cost those who know it no time to speak of."""
    guess = site.head(more="Authorization: Bearer guess\r\n")
    guessing = [site.raw(guess * 10) for _ in range(MOST_CONNECTIONS // 2)]
    begun = time.monotonic()
    undisturbed = seconds_of(site.check)
    assert seconds_of(lambda: [site.check() for _ in range(10)]) < 5 + 10 * BUSY * undisturbed
    said = b""
    while said.count(b"HTTP/1.1 401 ") < 5:
        said += guessing[0].recv(65536)
    assert time.monotonic() - begun > 0.9
    assert site.agent.count("refused a call") <= time.monotonic() - begun + 2


def test_answers_that_nobody_reads(site, sanitized):
    """They wait in the socket, not in the agent's memory."""
    site.check()
    before = site.agent.memory()
    for _ in range(MOST_CONNECTIONS // 2):
        connection = site.raw()
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                connection.send((site.head(path="/v1/openapi.json") * 100).encode())
    site.check()
    if not sanitized:
        assert site.agent.memory() - before < 32 * 1024 * 1024


def test_a_caller_who_goes_in_the_middle(site):
    descriptors = site.agent.descriptors()
    whole = site.head("POST", "/v1/forwards", CALLER + "Content-Type: application/json\r\n"
                      "Content-Length: 100\r\nExpect: 100-continue\r\n") + "{"
    for cut in range(0, len(whole), 7):
        site.raw(whole[:cut]).close()
    eventually(lambda: site.agent.descriptors() <= descriptors, message="descriptors are left")
    site.check()


def test_requests_one_behind_the_other(site):
    count = 500
    connection = site.raw(site.head() * (count - 1) + site.head(more=CALLER + "Connection: close\r\n"))
    assert read_all(connection).count(b"HTTP/1.1 200 OK\r\n") == count
    site.check()
