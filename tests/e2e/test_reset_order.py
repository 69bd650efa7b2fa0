"""A reset ends what comes after it, and never revokes what was sent before: not at any hop."""

import errno
import select
import socket
import threading
import time

import pytest

from culvert.lua import WebService, example
from culvert.peers import (connect, expect_session_reset, fill, free_port, in_parallel, receive_all,
                           receive_exactly, receive_until_reset, reset, wait_for_error,
                           wait_until_taken)
from culvert.process import PATIENCE, eventually
from culvert.wire import ACK, DATA, RESET, Link
from culvert.world import MEGABYTE

RECORDS = 100
SENT = 300 * 1000  # less than the window of each hop, so that all of it is on its way
WAYS = ["ws", "wss", "poll", "loops", "loops-wss", "hubble"]


@pytest.fixture(params=WAYS)
def way(world, request):
    """A function that makes a rule's port for a target's: over each carrier, within one loop of the
    gateway and across, and towards an agent that speaks Hubble 0.1."""
    def make(target, *far_options):
        loops = request.param.startswith("loops")
        gateway = world.gateway("--legacy", "hubble", secure=request.param.endswith("wss"),
                                threads=4 if loops else 1)
        url = None
        if request.param == "poll":
            url = f"poll+http://127.0.0.1:{gateway.port}/"
        if request.param == "hubble":
            far_options = ("--dialect", "hubble", *far_options)
        names = [f"far{number}" for number in range(4 if loops else 1)]
        for name in names:
            world.agent(gateway, name, url=url, options=far_options)
        near = world.agent(gateway, "near", *(f"0:{name}:127.0.0.1:{target}" for name in names),
                           url=url)
        return [near.port(index) for index in range(len(names))]

    # Hubble 0.1 has one kind of end only.
    make.read = receive_all if request.param == "hubble" else receive_until_reset
    return make


def test_what_a_client_sent_before_its_reset_arrives(world, way):
    server = world.server()
    for port in way(server.port):
        client = connect(port)
        client.sendall(bytes(SENT))
        target = server.accept()
        wait_until_taken(client)
        reset(client)
        assert len(way.read(target)) == SENT


def test_what_a_target_sent_before_its_reset_arrives(world, way):
    server = world.server()
    for port in way(server.port):
        client = world.keep(connect(port))
        client.sendall(b"?")
        target = server.accept()
        target.sendall(bytes(SENT))
        wait_until_taken(target)
        reset(target)
        assert len(way.read(client)) == SENT


def test_each_record_arrives_though_its_sender_left_input_unread(world, way):
    """Such a close is a reset, right behind the record."""
    records = []

    def target(connection):
        connection.sendall(b"a banner that nobody reads")
        got = bytearray()
        try:
            while piece := connection.recv(65536):
                got += piece
        except ConnectionResetError:
            pass
        records.append(bytes(got))

    ports = way(world.server(target).port)

    def client(number):
        with connect(ports[number % len(ports)]) as connection:
            select.select([connection], [], [])  # the banner is there
            connection.sendall(b"%06d" % number)

    in_parallel(client, range(RECORDS), workers=20)
    eventually(lambda: len(records) == RECORDS, message="sessions did not end")
    assert sorted(records) == [b"%06d" % number for number in range(RECORDS)]


def test_an_early_answer_arrives(world, way):
    """A server answers at once and closes, though it has not read all of the upload."""
    answer = b"HTTP/1.1 413 Too large\r\n\r\n" + bytes(20000)

    def target(connection):
        receive_exactly(connection, 1000)
        connection.sendall(answer)

    ports = way(world.server(target).port)

    # It reads before it sends on: a system that hears of a reset while it sends drops what was not
    # read, without a tunnel too.
    def client(number):
        with connect(ports[number % len(ports)]) as connection:
            connection.sendall(bytes(200 * 1000))
            got = bytearray()
            try:
                while len(got) < len(answer):
                    piece = connection.recv(65536)
                    assert piece, f"the answer ended after {len(got)} bytes"
                    got += piece
            except ConnectionResetError:
                pass
            return bytes(got)

    for got in in_parallel(client, range(40), workers=10):
        assert got == answer


@pytest.mark.parametrize("way", [way for way in WAYS if way != "hubble"], indirect=True)
@pytest.mark.parametrize("who", [0, 1], ids=["client", "target"])
def test_a_half_close_before_the_reset_arrives_before_it(world, way, who):
    server = world.server()
    for port in way(server.port):
        client = world.keep(connect(port))
        client.sendall(b"?")
        target = server.accept()
        receive_exactly(target, 1)
        ours, theirs = (client, target) if who == 0 else (target, client)
        ours.sendall(b"the last words")
        ours.shutdown(socket.SHUT_WR)
        wait_until_taken(ours)
        assert receive_exactly(theirs, 14) == b"the last words"
        assert theirs.recv(1) == b""
        reset(ours)
        assert wait_for_error(theirs) in (errno.ECONNRESET, errno.EPIPE)


def test_a_slow_reader_gets_everything(world, secure):
    """The last socket is reset only when its peer's system has taken all."""
    server = world.server(receive_buffer=4096)
    tunnel = world.tunnel(server.port, secure=secure)
    client = tunnel.connect()
    client.sendall(bytes(SENT))
    target = server.accept()
    wait_until_taken(client)
    reset(client)
    received = 0
    began = time.monotonic()
    with pytest.raises(ConnectionResetError):
        while True:
            # 100 KB a second: its pace is the subject.
            while received > (time.monotonic() - began) * 100 * 1000:
                select.select([], [], [], 0.02)
            piece = target.recv(4096)
            assert piece, "the stream ended in order"
            received += len(piece)
    assert received == SENT


@pytest.mark.once
def test_a_reader_that_takes_nothing_is_reset_in_the_end(world):
    """After 30 s without progress, at all hops together."""
    server = world.server()
    tunnel = world.tunnel(server.port, options=("--resume-window", "0"))
    client = tunnel.connect()
    sent = fill(client)
    target = server.accept()
    began = time.monotonic()
    reset(client)
    wait_for_error(target, timeout=120)
    assert 25 < time.monotonic() - began
    assert sent > MEGABYTE
    eventually(lambda: "code=17" in tunnel.gateway.output(), message="the gateway gave no reason")


def test_both_sides_reset(world, way):
    server = world.server()
    for port in way(server.port):
        client = connect(port)
        client.sendall(b"?")
        target = server.accept()
        receive_exactly(target, 1)
        client.sendall(bytes(SENT))
        target.sendall(bytes(SENT))
        wait_until_taken(client)
        wait_until_taken(target)
        reset(client)
        reset(target)
        with connect(port) as again:
            again.sendall(b"!")
            assert receive_exactly(server.accept(), 1) == b"!"


def test_a_client_that_goes_while_the_link_is_away(world):
    """What it sent is delivered when the link is back."""
    server = world.server()
    gateway = world.gateway()
    world.agent(gateway, "far")
    proxy = world.proxy(gateway.port)
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{server.port}",
                       url=f"ws://127.0.0.1:{proxy.port}")
    client = connect(near.port())
    client.sendall(b"?")
    target = server.accept()
    receive_exactly(target, 1)
    proxy.half_open()
    client.sendall(b"the last words")
    wait_until_taken(client)
    reset(client)
    proxy.reset()
    assert receive_until_reset(target) == b"the last words"


def test_a_client_that_goes_before_its_target_answers(world):
    """With nothing delivered its session ends; otherwise the target is dialled all the same."""
    server = world.server()
    tunnel = world.tunnel(free_port(), server.port)
    reset(tunnel.connect(0))
    tunnel.near.wait_for("no session to agent2")
    client = tunnel.connect(1)
    client.sendall(b"early words")
    wait_until_taken(client)
    reset(client)
    assert receive_until_reset(server.accept()) == b"early words"


@pytest.mark.parametrize("words", [b"early words", b""], ids=["after data", "at once"])
@pytest.mark.parametrize("is_allowed", [True, False], ids=["allowed", "refused"])
def test_a_client_that_goes_while_the_script_thinks(world, words, is_allowed):
    """The target is dialled for what was sent before, if the script allows it."""
    answer = threading.Event()
    asked = threading.Event()

    def think(_):
        asked.set()
        answer.wait(PATIENCE)
        return 200, {"allow": is_allowed}

    service = world.keep(WebService(think))
    script = world.write("policy.lua", example("ask-a-web-service.lua").replace(
        "http://127.0.0.1:8000/may", service.url).replace('"2s"', '"60s"'))
    gateway = world.gateway("--auth-lua", script, "--auth-timeout", "60s", policy=None)
    server = world.server()
    tunnel = world.tunnel(server.port, gateway=gateway)
    client = tunnel.connect()
    client.sendall(words)
    assert asked.wait(PATIENCE)
    wait_until_taken(client)
    reset(client)
    if not words:
        tunnel.near.wait_for("no session to agent2")
    answer.set()
    if words and is_allowed:
        assert receive_until_reset(server.accept()) == words
    elif words:
        gateway.wait_for("session.refused .*code=2 ")
    # Nobody else is held up, and no other connection has come to the target.
    if is_allowed:
        world.keep(tunnel.connect())
        server.accept()
    else:
        expect_session_reset(tunnel.port())
    assert server.accepted == is_allowed + bool(words and is_allowed)


def test_a_key_that_is_revoked_while_a_reset_waits(world):
    """A revocation ends what a reset would still deliver."""
    gateway = world.gateway(is_open=False)
    server = world.server()
    world.agent(gateway, "far", key=gateway.add_key("far"))
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{server.port}", key=gateway.add_key("near"))
    client = connect(near.port())
    fill(client)
    target = server.accept()
    reset(client)
    assert gateway.key("revoke", "near").returncode == 0
    wait_for_error(target)
    gateway.wait_for("session.closed .*code=2 ")


def test_a_reset_is_passed_on_while_its_sender_takes_nothing(world):
    """An agent that does not read ends its sessions all the same, and with their own reason."""
    echo = world.server(pour)
    server = world.server()
    gateway = world.gateway("--drain", "0")
    world.agent(gateway, "far")
    link = world.keep(Link.connect(gateway))
    assert link.shake_hands("near")["Ok"] is True
    link.open(1, "far", server.port)
    target = server.accept()
    assert link.wait_for(ACK, 1)
    for sid in range(3, 123, 2):
        link.open(sid, "far", echo.port)
    # Nothing more comes from the gateway once the line to this agent is full.
    eventually(lambda: len(filled) == 60, message="the line was not filled")
    link.send_message(DATA, [1, b"hello"])
    link.send_message(RESET, [1, 1, "bye"])
    assert receive_until_reset(target) == b"hello"
    gateway.wait_for("session.closed .*code=1 ")


filled = []


def pour(connection):
    """Sends until the connection takes nothing for a moment."""
    fill(connection, patience=0.3)
    filled.append(connection)
    connection.settimeout(None)
    connection.recv(1)


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=[
    pytest.mark.long, pytest.mark.limit(600)])])
@pytest.mark.parametrize("threads", [1, 4])
def test_resets_behind_data_that_nobody_takes_hold_bounded_memory(world, threads, count, sanitized):
    """A stream whose reset waits counts as an open one, and is ended when memory is short."""
    limit = 64
    options = ("--max-memory", f"{limit}M")
    server = world.server(lambda connection: connection.recv(1) and held.append(connection.dup()))
    held = []
    echo = world.echo_server()
    tunnel = world.tunnel(echo.port, options=options, far_options=options, threads=threads)
    innocent = tunnel.connect()
    attacker = world.keep(Link.connect(tunnel.gateway))
    assert attacker.shake_hands("attacker")["Ok"] is True
    sid = 1
    for _ in range(count // 50):
        batch = range(sid, sid + 2 * 50, 2)
        sid += 2 * 50
        for stream in batch:
            attacker.open(stream, "agent2", server.port)
        waiting = set(batch)
        while waiting:
            kind, body = attacker.receive()
            if kind in (ACK, RESET):
                waiting.discard(body[0])
        for stream in batch:
            for _ in range(4):
                attacker.send_message(DATA, [stream, bytes(64 * 1024)])
            attacker.send_message(RESET, [stream, 1, "gone"])
        innocent.sendall(b"still here")
        assert receive_exactly(innocent, 10) == b"still here"
    for process in (tunnel.gateway, tunnel.far):
        bound = (limit * 5 // 4 + 32) * MEGABYTE
        assert sanitized or process.memory() <= bound, f"{process.name}: {process.memory()} bytes"
    for connection in held:
        connection.close()
