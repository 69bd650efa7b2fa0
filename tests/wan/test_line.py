"""The line itself does what it says."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from culvert.peers import connect, echo_once, receive_exactly
from culvert.process import eventually, run
from wide_area import Failed, missing

pytestmark = pytest.mark.once

pytestmark = pytest.mark.wan

HEADERS = 28  # of IPv4 and UDP
SEGMENT, PACKET = 1448, 1500


@pytest.fixture
def pair(world):
    """A TCP connection across a line, near end and far end."""

    def make(area):
        with area.far.entered():
            server = world.server(address=area.far.address)
        with area.near.entered():
            client = world.keep(connect(server.port, address=area.far.address))
        return client, server.accept()

    return make


def datagrams(world, area):
    """A UDP socket near that is connected to one far."""
    with area.far.entered():
        far = world.keep(socket.socket(type=socket.SOCK_DGRAM))
    far.bind((area.far.address, 0))
    with area.near.entered():
        near = world.keep(socket.socket(type=socket.SOCK_DGRAM))
    near.connect(far.getsockname())
    return near, far


def exchange(near, far):
    """One byte there and back."""
    near.sendall(b"x")
    receive_exactly(far, 1)
    far.sendall(b"y")
    receive_exactly(near, 1)


def expect_silence(connection, seconds=0.3):
    connection.settimeout(seconds)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    connection.settimeout(20)


def expect_reset(connection, seconds=2.0):
    connection.settimeout(seconds)
    with pytest.raises(ConnectionResetError):
        connection.recv(1)


def measure_round_trip(near, far):
    """Milliseconds. The least of several: what a busy machine adds is not the line's."""
    times = []
    for _ in range(9):
        start = time.monotonic()
        exchange(near, far)
        times.append((time.monotonic() - start) * 1000)
    return min(times)


@pytest.mark.parametrize("round_trip", [10, 50, 200])
def test_delay(wide_area, pair, round_trip):
    near, far = pair(wide_area(round_trip=round_trip))
    assert measure_round_trip(near, far) == pytest.approx(round_trip, rel=0.1)


def test_delay_of_one_direction_while_it_runs(wide_area, pair):
    area = wide_area(round_trip=10)
    near, far = pair(area)
    area.set("down", delay=45)
    assert measure_round_trip(near, far) == pytest.approx(50, rel=0.1)


@pytest.mark.parametrize("rate,direction", [(20e6, "up"), (100e6, "down")])
def test_rate(world, wide_area, rate, direction):
    area = wide_area(round_trip=10, rate=rate, queue=rate / 8 * 0.03, congestion="reno")
    server = world.process("iperf3", area.far.command("iperf3", "-s", "--forceflush"))
    server.wait_for("Server listening")
    result = run(area.near.command("iperf3", "-c", area.far.address, "-t", 2, "-O", 1, "-J",
                                   *(["-R"] if direction == "down" else [])), check=True)
    carried = json.loads(result.stdout)["end"]["sum_received"]["bits_per_second"]
    assert carried * PACKET / SEGMENT == pytest.approx(rate, rel=0.05)


def test_queue(wide_area, world):
    """A burst fills the queue, what is beyond it is lost, and the rest comes at the line's rate."""
    area = wide_area(rate=1e6, queue=50 * 1000)
    near, far = datagrams(world, area)
    start = time.monotonic()
    for _ in range(200):
        near.send(bytes(1000 - HEADERS))
    eventually(lambda: area.counts()[0].delivered + area.counts()[0].overflowed == 200)
    took = time.monotonic() - start
    up, down = area.counts()
    # What leaves while the burst comes in makes room for a few more.
    assert 50 <= up.delivered <= 65
    assert took == pytest.approx(up.delivered * 8000 / 1e6, rel=0.2)
    assert down.delivered == 0
    far.settimeout(1)
    assert len(far.recv(2000)) == 1000 - HEADERS


def lose(wide_area, world, seed):
    """Which of 2000 datagrams get lost at 5 %."""
    area = wide_area(loss=5, seed=seed)
    near, far = datagrams(world, area)
    far.setblocking(False)
    there = set()
    for number in range(2000):
        near.send(number.to_bytes(2, "big"))
        if number % 100 == 99:  # a socket's buffer is no place to lose more
            eventually(lambda: sum(vars(area.counts()[0]).values()) == number + 1)
            with pytest.raises(BlockingIOError):
                while True:
                    there.add(far.recv(10))
    assert area.counts()[0].lost == 2000 - len(there)
    return set(range(2000)) - {int.from_bytes(data, "big") for data in there}


def test_loss(wide_area, world):
    lost = lose(wide_area, world, seed=3)
    assert 60 <= len(lost) <= 140
    assert lost == lose(wide_area, world, seed=3)
    assert lost != lose(wide_area, world, seed=4)


def test_blackhole(wide_area, pair):
    area = wide_area(round_trip=10)
    near, far = pair(area)
    exchange(near, far)
    area.blackhole()
    near.sendall(b"a")
    far.sendall(b"b")
    expect_silence(near)
    expect_silence(far)
    area.blackhole(False)
    assert receive_exactly(far, 1) == b"a"
    assert receive_exactly(near, 1) == b"b"


def test_blackhole_in_one_direction(wide_area, pair):
    area = wide_area(round_trip=10)
    near, far = pair(area)
    area.blackhole(direction="up")
    far.sendall(b"b")
    assert receive_exactly(near, 1) == b"b"
    near.sendall(b"a")
    expect_silence(far)


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_cut(wide_area, pair, state):
    area = wide_area(round_trip=100, rate=50e6)
    near, far = pair(area)
    exchange(near, far)
    if state == "busy":
        near.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                near.send(bytes(65536))
        receive_exactly(far, 65536)
    area.cut()
    expect_reset(near)
    with pytest.raises(ConnectionResetError):
        while far.recv(65536):
            pass
    exchange(*pair(area))


def test_nat_that_forgot(wide_area, pair):
    area = wide_area(round_trip=10)
    old, old_far = pair(area)
    assert old_far.getpeername()[0] == area.near.address
    area.forget("198.18.0.9")
    old_far.sendall(b"where are you?")
    expect_silence(old)
    old.sendall(b"here")
    expect_reset(old)
    near, far = pair(area)
    assert far.getpeername()[0] == "198.18.0.9"
    assert near.getsockname()[0] == area.near.address
    exchange(near, far)


def test_another_address(wide_area, pair):
    area = wide_area(round_trip=10)
    old, old_far = pair(area)
    area.move("198.18.0.9")
    old_far.sendall(b"where are you?")
    expect_silence(old)
    near, far = pair(area)
    assert far.getpeername()[0] == "198.18.0.9"
    exchange(near, far)


def test_what_it_does_not_understand(wide_area):
    area = wide_area()
    for words in ({"delay": "soon"}, {"loss": 101}, {"rate": -1}, {"colour": "red"},
                  {"queue": "1 sideways"}):
        with pytest.raises(Failed, match="error"):
            area.set(**words)
    with pytest.raises(Failed, match="error"):
        area.forget("nowhere")


def test_nothing_is_left(wide_area):
    """The line and its namespaces are gone when their maker is, even without a goodbye."""
    area = wide_area()
    spaces = {os.stat(end.path).st_ino for end in (area.near, area.far)}
    os.kill(area.pid, 9)
    area.close()

    def still_there():
        listed = run(["lsns", "--type", "net", "--noheadings", "--output", "NS"]).stdout.split()
        return spaces & {int(number) for number in listed}

    assert len(spaces) == 2
    eventually(lambda: not still_there(), message="the namespaces did not end")


def test_why_there_is_no_line(tmp_path):
    """Needs no line itself."""
    absent = tmp_path / "tun"
    assert missing(str(absent)) in (f"there is no {absent}",
                                    "network namespaces and TUN devices are for root")


def test_the_tests_say_why_they_are_skipped():
    if os.geteuid() != 0:
        pytest.skip("this is such a run")
    # In a namespace that maps no user root is nobody, and still reads its own files.
    done = subprocess.run(
        ["unshare", "--user", sys.executable, "-m", "pytest", "-k", "test_blackhole",
         os.path.dirname(__file__)],
        capture_output=True, text=True, timeout=120, check=False)
    assert "for root" in done.stdout, done.stdout + done.stderr
    assert "2 skipped" in done.stdout


def test_a_tunnel_across_the_line(world, wide_area):
    """The gateway and agent2 are far, agent1 and its clients are near."""
    area = wide_area(round_trip=40, rate=100e6)
    with area.far.entered():
        server = world.echo_server()
    gateway = world.gateway(listen=f"{area.far.address}:0", wrapper=area.far.wrapper())
    world.agent(gateway, "agent2", url=gateway.url(area.far.address), wrapper=area.far.wrapper())
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{server.port}",
                       url=gateway.url(area.far.address), wrapper=area.near.wrapper())
    with area.near.entered():
        echo_once(near.port())
    assert area.counts()[0].delivered > 0
