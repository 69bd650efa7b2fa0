"""What TCP promises, through the tunnel: half-close, reset, order, back-pressure."""

import errno
import socket
import struct
import threading

import pytest

from culvert.peers import (connect, echo_bulk, echo_once, expect_end, expect_gone,
                           expect_reset, expect_session_reset, fill, free_port, in_parallel,
                           is_silent, receive_all, receive_exactly, receive_until_reset, reset,
                           wait_for_error)
from culvert.process import PATIENCE, eventually
from culvert.task import Task
from culvert.timing import BUSY, compare_round_trips, seconds_of
from culvert.world import MEGABYTE

WINDOW = 16 * MEGABYTE  # what a session may have on its way in each process (docs/protocol.md)


@pytest.fixture
def server(world):
    """A target that hands its connections to the test."""
    return world.server()


@pytest.fixture
def echo_server(world):
    return world.echo_server()


@pytest.fixture
def tunnel(world, server, echo_server, secure):
    """Rule 0 leads to `server`, rule 1 to an echo server."""
    return world.tunnel(server.port, echo_server.port, secure=secure)


def open_session(tunnel, server):
    """A client's and the target's end of one session."""
    client = tunnel.connect()
    client.sendall(b"?")
    target = server.accept()
    assert target.recv(1) == b"?"
    return client, target


@pytest.fixture
def pair(tunnel, server):
    return open_session(tunnel, server)


BULK = bytes(range(256)) * 20000


def test_the_client_half_closes(pair):
    client, target = pair
    client.sendall(b"a request")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(target) == b"a request"
    answer = Task(lambda: (target.sendall(BULK), target.close()))
    assert receive_all(client) == BULK
    answer.finish(PATIENCE)


def test_the_target_half_closes(pair):
    client, target = pair
    target.sendall(b"a banner")
    target.shutdown(socket.SHUT_WR)
    assert receive_all(client) == b"a banner"
    sender = Task(lambda: (client.sendall(BULK), client.close()))
    assert receive_all(target) == BULK
    sender.finish(PATIENCE)


def test_a_half_closed_session_stays_open(pair, tunnel):
    client, target = pair
    client.shutdown(socket.SHUT_WR)
    expect_end(target)
    assert is_silent(client, 1.0)
    tunnel.check(1)
    target.sendall(b"later")
    assert receive_exactly(client, 5) == b"later"
    target.close()
    expect_end(client)


def test_a_reset_by_the_target_is_a_reset(pair):
    client, target = pair
    reset(target)
    expect_reset(client)


def test_a_reset_by_the_client_is_a_reset(pair):
    client, target = pair
    reset(client)
    expect_reset(target)


@pytest.mark.parametrize("who", [0, 1], ids=["client", "target"])
def test_a_reset_after_a_half_close_is_a_reset(pair, who):
    ours, theirs = pair[who], pair[1 - who]
    ours.shutdown(socket.SHUT_WR)
    expect_end(theirs)
    reset(ours)
    # Linux says EPIPE for a RST behind a FIN.
    assert wait_for_error(theirs) in (errno.ECONNRESET, errno.EPIPE)


def test_a_reset_by_a_target_that_never_read(pair):
    client, target = pair
    fill(client, patience=0.3)
    reset(target)
    expect_reset(client)


def test_a_refused_target_resets_the_client(world, secure):
    tunnel = world.tunnel(free_port(), secure=secure)
    expect_session_reset(tunnel.port())


def test_data_sent_to_a_refused_target_is_dropped(world, secure):
    tunnel = world.tunnel(free_port(), world.echo_server().port, secure=secure)
    for _ in range(20):
        try:
            client = tunnel.connect()
            client.sendall(bytes(200000))
            expect_gone(client)
        except (ConnectionResetError, BrokenPipeError):
            pass
    tunnel.check(1)


def test_an_unknown_agent_resets_the_client(world, secure):
    gateway = world.gateway(secure=secure)
    near = world.agent(gateway, "agent1", "0:nobody:127.0.0.1:22")
    expect_session_reset(near.port())
    near.wait_for(r"nobody")


def test_sessions_without_a_byte(tunnel, server):
    for closes_first in ("client", "target"):
        client = tunnel.connect()
        target = server.accept()
        first, second = (client, target) if closes_first == "client" else (target, client)
        first.close()
        expect_end(second)
        second.close()
    tunnel.check(1)


def test_a_client_that_is_gone_before_the_target_answered(tunnel, server):
    for _ in range(50):
        tunnel.connect().close()
    for _ in range(50):
        expect_gone(server.accept())
    tunnel.check(1)


def test_both_sides_close_together(tunnel, server, world):
    baseline = [process.descriptors() for process in tunnel.processes()]

    def session(_):
        client = connect(tunnel.port())
        client.sendall(b"ping")
        with server.accept() as target, client:
            barrier = threading.Barrier(2)

            def end(connection, word):
                connection.sendall(word)
                barrier.wait()
                connection.shutdown(socket.SHUT_WR)

            other = threading.Thread(target=end, args=(target, b"from the target"))
            other.start()
            end(client, b"from the client")
            other.join()
            assert receive_all(client) == b"from the target"
            assert receive_all(target) == b"pingfrom the client"

    for number in range(100):
        session(number)
    for process, count in zip(tunnel.processes(), baseline):
        eventually(lambda p=process, c=count: p.descriptors() <= c + 2,
                   message=f"{process.name} keeps descriptors of ended sessions")


@pytest.fixture
def short_tunnel(world, server, secure):
    """One whose links wait for a second when their connection is gone, as it is when an agent
    dies."""
    return world.tunnel(server.port, secure=secure, options=["--resume-window", "1"])


def test_a_dead_dialling_agent_frees_the_client(short_tunnel, server):
    client, _ = open_session(short_tunnel, server)
    short_tunnel.far.kill()
    expect_reset(client)


def test_a_dead_asking_agent_frees_the_target(short_tunnel, server):
    _, target = open_session(short_tunnel, server)
    short_tunnel.near.kill()
    expect_reset(target)


def test_the_target_learns_of_a_client_program_that_dies_with_data_unread(pair):
    """A program killed with bytes unread makes its kernel send a RST."""
    client, target = pair
    target.sendall(b"never read")
    assert client.recv(1, socket.MSG_PEEK) == b"n"
    client.close()
    expect_reset(target)


def test_bulk_both_ways_arrives_unharmed(tunnel):
    echo_bulk(tunnel.port(1), 30 * MEGABYTE)


def test_many_sessions_at_once(tunnel, sanitized):
    count = 100 if sanitized else 300
    in_parallel(lambda size: echo_bulk(tunnel.port(1), size),
                [100_000 + 997 * number for number in range(count)], workers=100)


def test_a_thousand_idle_sessions(world, secure):
    """They all stay open and are all in use afterwards."""
    tunnel = world.tunnel(world.echo_server().port, secure=secure)
    connections = [tunnel.connect() for _ in range(1000)]
    for number, connection in enumerate(connections):
        connection.sendall(struct.pack("!I", number))
    for number, connection in enumerate(connections):
        assert receive_exactly(connection, 4) == struct.pack("!I", number)


def test_ended_sessions_leave_nothing(world, secure, sanitized):
    tunnel = world.tunnel(world.echo_server().port, secure=secure)
    in_parallel(lambda _: echo_once(tunnel.port()), range(200))
    memory = [process.memory() for process in tunnel.processes()]
    descriptors = [process.descriptors() for process in tunnel.processes()]
    in_parallel(lambda _: echo_once(tunnel.port()), range(2000))
    for process, before, count in zip(tunnel.processes(), memory, descriptors):
        eventually(lambda p=process, c=count: p.descriptors() <= c + 2,
                   message=f"{process.name} keeps descriptors of ended sessions")
        assert sanitized or process.memory() < before + 8 * MEGABYTE, process.name


@pytest.mark.parametrize("direction", ["to-target", "to-client"])
def test_a_receiver_that_stops_reading(tunnel, server, echo_server, direction, sanitized):
    """Memory is bounded in each process, and the link's other sessions are not slowed."""
    tunnel.check(1)
    before = [process.memory() for process in tunnel.processes()]
    stalled = []
    for _ in range(4):
        client = tunnel.connect()
        target = server.accept()
        stalled.append((client, target))
    for client, target in stalled:
        fill(client if direction == "to-target" else target, patience=0.3)
    if not sanitized:
        for process, memory in zip(tunnel.processes(), before):
            grown = process.memory() - memory
            assert grown < len(stalled) * WINDOW + 24 * MEGABYTE, \
                f"{process.name} grew by {grown} bytes"
    tunnelled, direct = compare_round_trips(tunnel.port(1), echo_server.port)
    assert tunnelled < 0.05 + BUSY * direct
    alone = seconds_of(lambda: echo_bulk(echo_server.port, 50 * MEGABYTE))
    assert seconds_of(lambda: echo_bulk(tunnel.port(1), 50 * MEGABYTE)) < 20 + BUSY * alone
    for client, target in stalled:
        reader = client if direction == "to-client" else target
        (target if direction == "to-client" else client).shutdown(socket.SHUT_WR)
        size = 0
        while data := reader.recv(1 << 20):
            size += len(data)
        assert size > 0


def test_a_gateway_with_a_memory_limit(world, secure, sanitized):
    """Many stalled sessions end with a reset where they would go past it; others go on."""
    server = world.server()
    tunnel = world.tunnel(server.port, world.echo_server().port, secure=secure,
                          options=["--max-memory", "16M"])
    tunnel.check(1)
    before = tunnel.gateway.memory()
    for _ in range(300):
        try:
            fill(tunnel.connect(), patience=0.1 if sanitized else 0.01)
        except (ConnectionResetError, BrokenPipeError):
            pass
        if tunnel.gateway.count("at its limit"):
            break
    tunnel.gateway.wait_for("memory is at its limit", stream="err")
    if not sanitized:
        assert tunnel.gateway.memory() - before < 32 * MEGABYTE
    tunnel.check(1)


def test_a_keystroke_beside_a_bulk_stream(tunnel, server, echo_server, sanitized):
    client = tunnel.connect()
    target = server.accept()
    stop = threading.Event()

    def send():
        piece = bytes(256 * 1024)
        try:
            while not stop.is_set():
                client.sendall(piece)
        except OSError:
            pass

    def drain():
        try:
            while target.recv(1 << 20):
                pass
        except OSError:
            pass

    threads = [threading.Thread(target=send), threading.Thread(target=drain)]
    for thread in threads:
        thread.start()
    try:
        tunnelled, direct = compare_round_trips(tunnel.port(1), echo_server.port, 100)
        assert tunnelled < (1.0 if sanitized else 0.1) + BUSY * direct
    finally:
        stop.set()
        reset(client)
        for thread in threads:
            thread.join()


def test_idle_processes_use_no_processor_time(tunnel, server):
    """With a session open, and after much was carried."""
    client = tunnel.connect()
    server.accept()
    echo_bulk(tunnel.port(1), 50 * MEGABYTE)
    before = [process.cpu_seconds() for process in tunnel.processes()]
    assert is_silent(client, 2.0)
    for process, used in zip(tunnel.processes(), before):
        assert process.cpu_seconds() - used < 0.1, process.name


@pytest.mark.threads
def test_sessions_between_loops(world, secure):
    """Many agents on a gateway of four loops; each reaches each, at once, bytes unharmed."""
    echo_server = world.echo_server()
    gateway = world.gateway(secure=secure, threads=4)
    names = [f"agent{number}" for number in range(8)]
    for name in names:
        world.agent(gateway, f"far-{name}")
    rules = [f"0:far-{name}:127.0.0.1:{echo_server.port}" for name in names]
    agents = [world.agent(gateway, name, *rules) for name in names]
    ports = [agent.port(index) for agent in agents for index in range(len(rules))]
    in_parallel(lambda port: echo_bulk(port, 400_000), ports * 2, workers=40)


@pytest.mark.threads
def test_resets_between_loops(world, secure):
    gateway = world.gateway(secure=secure, threads=4)
    server = world.server()
    echo_server = world.echo_server()
    fars = [world.agent(gateway, f"far{number}") for number in range(6)]
    near = world.agent(gateway, "near", *(
        f"0:{far.agent_name}:127.0.0.1:{port}" for far in fars
        for port in (server.port, echo_server.port)))
    for round_number in range(5):
        for index in range(len(fars)):
            client = world.keep(connect(near.port(2 * index)))
            target = server.accept()
            fill(client, patience=0.05)
            first, second = (client, target) if round_number % 2 else (target, client)
            reset(first)
            receive_until_reset(second)
    for index in range(len(fars)):
        echo_bulk(near.port(2 * index + 1), 2 * MEGABYTE)


@pytest.mark.threads
def test_agents_come_and_go_between_loops(world, secure):
    """Agents die in the middle of transfers; who stays is not harmed."""
    gateway = world.gateway("--resume-window", "0", secure=secure, threads=4)
    sink = world.server(receive_all)
    echo_server = world.echo_server()
    stays = world.agent(gateway, "stays")
    for number in range(4):
        goes = world.agent(gateway, f"goes{number}")
        near = world.agent(gateway, f"near{number}", f"0:goes{number}:127.0.0.1:{sink.port}",
                           f"0:stays:127.0.0.1:{echo_server.port}")
        clients = [world.keep(connect(near.port())) for _ in range(4)]
        for client in clients:
            client.sendall(bytes(3 * MEGABYTE))
        (goes if number % 2 else near).kill()
        for client in clients:
            expect_gone(client)
        if number % 2:
            echo_bulk(near.port(1), MEGABYTE)
    assert stays.is_running()


def test_urgent_data_comes_in_its_place(world):
    """Telnet and FTP send such a byte; it must not be lost."""
    server = world.server()
    tunnel = world.tunnel(server.port)
    client = tunnel.connect()
    client.sendall(b"ab")
    target = server.accept()
    assert receive_exactly(target, 2) == b"ab"
    client.send(b"!", socket.MSG_OOB)
    client.sendall(b"cd")
    assert receive_exactly(target, 3) == b"!cd"
    target.send(b"?", socket.MSG_OOB)
    target.sendall(b"ef")
    assert receive_exactly(client, 3) == b"?ef"


@pytest.mark.once
def test_a_target_behind_a_hubble_agent_that_stays_silent_after_the_half_close(world):
    """0.1 has no half-close: the gateway waits 30 s for the answer. None is no empty one."""
    server = world.server()
    tunnel = world.tunnel(server.port, options=("--legacy", "hubble"),
                          far_options=("--dialect", "hubble"))
    client = tunnel.connect()
    client.sendall(b"question")
    target = server.accept()
    assert receive_exactly(target, 8) == b"question"
    client.shutdown(socket.SHUT_WR)
    expect_reset(client, 60)
