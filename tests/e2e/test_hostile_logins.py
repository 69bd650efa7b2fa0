"""Who logs in to do harm: the agents that are there, and those that come beside, do not suffer."""

import asyncio
import random
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from culvert.peers import TIMEOUT, connect, echo_once, free_port, receive_exactly
from culvert.polls import Http, Poll
from culvert.process import eventually
from culvert.wire import (ACK, BINARY, HANDSHAKE, MESSAGE_PING, MESSAGE_PONG, Closed, Link,
                          answer_upgrade, encode, frame, upgrade_request)

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


# ---- long poll ----


def test_refused_logins_by_long_poll_leave_little_behind(world):
    """A refusal waits to be fetched; the connections that leave it there are bounded like all that
    have not logged in, and a session and a login beside do not suffer."""
    gateway = world.gateway("--handshakes-per-second", "0", threads=1)
    tunnel = world.tunnel(world.echo_server().port, gateway=gateway)
    client = tunnel.connect()
    say(client)
    wrong = encode(HANDSHAKE, {"Version": "1", "Name": "-", "Key": "", "Features": [],
                               "Window": 262144, "Epoch": 1, "First": 1})
    held, most = [], 0
    for _ in range(2500):
        connection = Http(gateway.port)
        held.append(world.keep(connection))
        opened = connection.ask({"Culvert-Poll": "open"})
        assert opened.status == 200
        try:
            connection.ask({"Culvert-Poll": opened.fields["culvert-poll"], "Culvert-Up": 1}, wrong)
        except Closed:
            pass  # it made room for another
        most = max(most, gateway.descriptors())
    assert most < MOST + 200
    say(client)
    assert Poll(world, gateway).shake_hands("innocent")["Ok"]


# ---- connections that do not log in ----


ATTACKER, INNOCENT = "127.0.7.1", "127.0.9.1"
MOST = 1024  # that have not logged in, on one event loop


def direct(address):
    """How a client with this address comes: (its own address, bytes before its request, fields)."""
    return address, b"", ""


def by_header(address):
    return "127.0.0.1", f"PROXY TCP4 {address} 127.0.0.1 1000 80\r\n".encode(), ""


def by_field(address):
    return "127.0.0.1", b"", f"X-Forwarded-For: {address}\r\n"


WAYS = {"direct": (direct, ()), "proxy-protocol": (by_header, ("--trusted-proxy", "127.0.0.1")),
        "forwarded-for": (by_field, ("--trusted-proxy", "127.0.0.1"))}


def begin(world, gateway, way, address):
    """An upgraded connection from an address, which has still to send its handshake."""
    source, opening, extra = way(address)
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=TIMEOUT,
                                          source_address=(source, 0))
    world.keep(connection)
    connection.sendall(opening + upgrade_request(extra=extra))
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(65536)
        if not data:
            raise Closed
        head += data
    return Link(connection, head.partition(b"\r\n\r\n")[2], head.decode(errors="replace"))


@pytest.mark.parametrize("way, options", WAYS.values(), ids=WAYS)
def test_connections_of_one_address_do_not_push_others_out(world, way, options):
    gateway = world.gateway("--limit-loopback", "--handshakes-per-second", "0", *options, threads=1)
    slow = [begin(world, gateway, way, INNOCENT) for _ in range(20)]
    for _ in range(MOST + 200):
        try:
            begin(world, gateway, way, ATTACKER)
        except (Closed, OSError):
            pass
    for number, link in enumerate(slow):
        assert link.shake_hands(f"innocent{number}")["Ok"]
    assert gateway.descriptors() < MOST / 2 + 200


def test_a_proxy_that_names_nobody_has_the_total(world):
    gateway = world.gateway("--limit-loopback", "--handshakes-per-second", "0", "--trusted-proxy",
                            "127.0.0.1", threads=1)
    links = [begin(world, gateway, direct, "127.0.0.1") for _ in range(MOST - 100)]
    for number, link in enumerate(links):
        assert link.shake_hands(f"agent{number}")["Ok"]


# ---- handshakes ----


class Flood:
    """Upgrades from one address, one after the other, until it is stopped."""

    def __init__(self, gateway, address, tasks=4):
        self._gateway = gateway
        self._address = address
        self._is_over = False
        self.count = 0
        self.waits = []
        self._threads = [threading.Thread(target=self._run) for _ in range(tasks)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        while not self._is_over:
            try:
                with socket.create_connection(("127.0.0.1", self._gateway.port), timeout=TIMEOUT,
                                              source_address=(self._address, 0)) as connection:
                    connection.sendall(upgrade_request())
                    answer = connection.recv(65536)
            except OSError:
                continue
            self.count += 1
            found = re.search(rb"^Retry-After: (\d+)\r$", answer, re.M)
            if found:
                self.waits.append(int(found[1]))

    def close(self):
        self._is_over = True
        for thread in self._threads:
            thread.join()


def test_a_flood_of_upgrades_sends_nobody_else_away(world):
    """Neither while it lasts nor after: one address leaves half of the rate to others."""
    gateway = world.gateway("--limit-loopback", "--handshakes-per-second", "50", threads=2)
    flood = world.keep(Flood(gateway, ATTACKER))
    eventually(lambda: flood.count >= 2000, 60.0)
    agents = [world.agent(gateway, f"agent{number}") for number in range(3)]
    flood.close()
    assert len(flood.waits) > 1000
    assert max(flood.waits) <= 15
    for agent in agents:
        assert agent.count("the server is busy") == 0


def test_an_agent_of_the_flooding_address_is_back_soon(world):
    """One that shares it, say by NAT, is told to wait 15 s at most."""
    gateway = world.gateway("--limit-loopback", "--handshakes-per-second", "20", threads=1)
    flood = world.keep(Flood(gateway, "127.0.0.1"))
    eventually(lambda: flood.count >= 1500, 60.0)
    agent = world.agent(gateway, "agent", wait=False)
    eventually(lambda: agent.count("the server is busy|^registered as"), 30.0)
    flood.close()
    agent.wait_registered(30.0)


def test_a_link_that_is_known_goes_before(world):
    """An agent that has lost its connection resumes though all others are sent away."""
    server = world.echo_server()
    gateway = world.gateway("--handshakes-per-second", "20", threads=2)
    way = world.proxy(gateway.port)
    world.agent(gateway, "far")
    near = world.agent(None, "near", f"0:far:127.0.0.1:{server.port}",
                       url=f"ws://127.0.0.1:{way.port}")
    client = world.keep(connect(near.port()))
    say(client)
    flood = world.keep(Flood(gateway, "127.0.0.1"))
    eventually(lambda: len(flood.waits) >= 300, 60.0)
    for _ in range(3):
        since = near.mark()
        way.cut()
        near.wait_for("resumed the link", 30.0, since=since, stream="err")
        say(client)
    assert near.count("the server is busy") == 0


async def come_back(port, name, deadline):
    """Does what an agent does until it is registered."""
    while True:
        assert time.monotonic() < deadline, f"{name} is not back in time"
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(upgrade_request())
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 101 "):
                writer.write(frame(BINARY, encode(HANDSHAKE, {
                    "Version": "1", "Name": name, "Key": "", "Features": [], "Window": 262144,
                    "Epoch": 1, "First": 1})))
                start = await reader.readexactly(5)
                assert start[0] == 0x80 | BINARY
                return writer
            wait = int(re.search(rb"^Retry-After: (\d+)\r$", head, re.M)[1])
            await asyncio.sleep(wait * random.uniform(1.0, 1.25))
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(random.uniform(0.05, 0.5))


@pytest.mark.threads
@pytest.mark.parametrize("threads", [1, 2])
def test_a_thousand_agents_of_one_address_are_back_within_half_a_minute(world, threads):
    listen = f"127.0.0.1:{free_port()}"
    options = ("--limit-loopback", "--drain", "0")
    gateway = world.gateway(*options, listen=listen, threads=threads)
    gateway.kill()
    gateway = world.gateway(*options, listen=listen, threads=threads)

    async def all_of_them():
        deadline = time.monotonic() + 30.0
        writers = await asyncio.gather(*(come_back(gateway.port, f"agent{number}", deadline)
                                         for number in range(1000)))
        for writer in writers:
            writer.close()

    asyncio.run(all_of_them())
