"""What an agent dials and looks up for others is shared fairly, and leaves it able to work."""

import os
import socket

import pytest

from culvert.names import NameServer
from culvert.peers import connect, echo_once, in_parallel, receive_exactly
from culvert.process import eventually
from culvert.wire import ACK, Link

DIALS_EACH = 512
LOOKUPS_EACH = 4
LIMIT = 10  # REASON_LIMIT
ALL = ["--allow", "*"]


@pytest.fixture
def names(world):
    return world.keep(NameServer(world, alive_test="127.0.0.1", gateway_test="127.0.0.1"))


@pytest.fixture
def gateway(world):
    return world.gateway()


def rogue(world, gateway, name="rogue"):
    """A raw agent that is registered."""
    link = world.keep(Link.connect(gateway))
    assert link.shake_hands(name)["Ok"] is True
    return link


def sids(count, first=0):
    """Numbers of streams: an agent's own are odd."""
    return range(2 * first + 1, 2 * (first + count) + 1, 2)


def open_dead_names(link, count, first=0):
    for sid in sids(count, first):
        link.open(sid, "far", 80, host=f"dead{sid}.test")


def dead_names(server):
    return {name for name in server.asked if name.startswith("dead")}


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


class SilentTarget:
    """A port that answers no connection: its queue is full, and the kernel drops what comes."""

    def __init__(self):
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.port = self._listener.getsockname()[1]
        self._fillers = []
        while len(self._fillers) < 8:
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)

    def close(self):
        for one in [self._listener, *self._fillers]:
            one.close()


def check_api(path):
    """The API answers, if only that it wants a token."""
    with socket.socket(socket.AF_UNIX) as api:
        api.settimeout(20)
        api.connect(path)
        api.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert api.recv(100).startswith(b"HTTP/1.1 401")


def test_dead_names_do_not_hold_up_others(world, gateway, names):
    server = world.echo_server()
    world.agent(gateway, "far", options=ALL, wrapper=names.wrapper())
    near = world.agent(gateway, "near", f"0:far:alive.test:{server.port}",
                       f"0:far:localhost:{server.port}", f"0:far:127.0.0.1:{server.port}")
    open_dead_names(rogue(world, gateway), 40)
    eventually(lambda: len(dead_names(names)) >= LOOKUPS_EACH)
    for index in range(3):
        echo_once(near.port(index))
    assert len(dead_names(names)) == LOOKUPS_EACH


def test_many_who_ask_for_dead_names_leave_room_for_one_more(world, gateway, names):
    server = world.echo_server()
    world.agent(gateway, "far", options=ALL, wrapper=names.wrapper())
    near = world.agent(gateway, "near", f"0:far:alive.test:{server.port}")
    for number in range(4):
        open_dead_names(rogue(world, gateway, f"rogue{number}"), 10, first=10 * number)
    eventually(lambda: len(dead_names(names)) >= 3 * LOOKUPS_EACH)
    echo_once(near.port())


def test_an_agent_finds_its_gateway_while_dead_names_are_looked_up(world, gateway, names):
    proxy = world.proxy(gateway.port)
    far = world.agent(gateway, "far", options=ALL, url=f"ws://gateway.test:{proxy.port}",
                      wrapper=names.wrapper())
    open_dead_names(rogue(world, gateway), 40)
    eventually(lambda: len(dead_names(names)) >= LOOKUPS_EACH)
    asked = names.asked.count("gateway.test")
    proxy.cut()
    # For the new connection, and for no address that was kept.
    eventually(lambda: names.asked.count("gateway.test") > asked, 30.0)
    eventually(lambda: proxy.accepted() >= 2, 30.0)
    assert far.is_running()


def test_no_lookup_is_waited_for_at_the_end(world, gateway, names):
    far = world.agent(gateway, "far", options=ALL, wrapper=names.wrapper())
    open_dead_names(rogue(world, gateway), 10)
    eventually(lambda: len(dead_names(names)) >= 2)
    far.ask_to_stop()
    far.wait(30.0)


def test_a_lookup_that_nobody_waits_for_keeps_its_place(world, gateway, names):
    server = world.echo_server()
    world.agent(gateway, "far", options=[*ALL, "--dial-timeout", "1s"], wrapper=names.wrapper())
    near = world.agent(gateway, "near", f"0:far:alive.test:{server.port}")
    link = rogue(world, gateway)
    for turn in range(3):
        open_dead_names(link, LOOKUPS_EACH, first=turn * LOOKUPS_EACH)
        for _ in range(LOOKUPS_EACH):
            assert link.wait_for(ACK)[1] is False
    assert len(dead_names(names)) == LOOKUPS_EACH
    echo_once(near.port())


def test_equal_names_share_a_lookup(world, gateway, names):
    world.agent(gateway, "far", options=ALL, wrapper=names.wrapper())
    links = [rogue(world, gateway, f"rogue{number}") for number in range(3)]
    for link in links:
        for sid in sids(20):
            link.open(sid, "far", 80, host="dead.test" if sid % 4 == 1 else "DEAD.test")
    eventually(lambda: names.asked)
    # A name of its own, which comes behind those.
    links[-1].open(101, "far", 1, host="alive.test")
    assert links[-1].wait_for(ACK, 101)[1] is False
    # One thread's two questions: for IPv4 and IPv6.
    assert len([name for name in names.asked if name.lower() == "dead.test"]) == 2


@pytest.mark.parametrize("options", [[], ["--allow", "127.0.0.0/8:*", "--allow", "[::1]:*"]],
                         ids=["default", "loopback"])
def test_an_agent_for_loopback_resolves_localhost_only(world, gateway, names, options):
    server = world.echo_server()
    world.agent(gateway, "far", options=options, wrapper=names.wrapper())
    near = world.agent(gateway, "near", f"0:far:localhost:{server.port}")
    link = rogue(world, gateway)
    for sid, host in zip(sids(3), ["c2VjcmV0.leak.test", "alive.test", "x.localhost"]):
        link.open(sid, "far", server.port, host=host)
        assert link.wait_for(ACK, sid)[:2] == [sid, False]
    echo_once(near.port())
    assert names.asked == []


def test_pending_dials_are_limited_for_each_who_asks(world, gateway):
    server = world.echo_server()
    silent = world.keep(SilentTarget())
    far = world.agent(gateway, "far")
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{server.port}")
    before = descriptors(far)
    link = rogue(world, gateway)
    for sid in sids(DIALS_EACH + 200):
        link.open(sid, "far", silent.port)
    answers = [link.wait_for(ACK) for _ in range(200)]
    assert all(answer[1] is False and answer[2] == LIMIT for answer in answers), answers[:3]
    assert descriptors(far) <= before + DIALS_EACH + 8
    echo_once(near.port())


def test_the_options_set_the_limits(world, gateway):
    silent = world.keep(SilentTarget())
    world.agent(gateway, "far", options=[
        "--max-dials", "10", "--max-dials-per-agent", "4", "--allow", "*",
        "--max-lookups", "2", "--max-lookups-per-agent", "1"])
    # The second and the third have as many as are left for all others.
    for number, allowed in enumerate([4, 3, 2]):
        link = rogue(world, gateway, f"rogue{number}")
        for sid in sids(8):
            link.open(sid, "far", silent.port)
        for _ in range(8 - allowed):
            assert link.wait_for(ACK)[1:3] == [False, LIMIT]


def test_descriptors_are_kept_for_the_link_and_the_api(world, gateway):
    """One who opens more sessions than there are descriptors leaves some for another one's, for the
    API and for a new link."""
    server = world.echo_server()
    proxy = world.proxy(gateway.port)
    socket_path = world.path("api")
    far = world.agent(gateway, "far", options=["--api", f"unix:{socket_path}"],
                      url=f"ws://127.0.0.1:{proxy.port}", wrapper=["prlimit", "--nofile=256:256"])
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{server.port}")
    link = rogue(world, gateway)
    opened = 0
    for sid in sids(300):
        link.open(sid, "far", server.port)
    for _ in range(300):
        answer = link.wait_for(ACK)
        opened += answer[1] is True
        assert answer[1] is True or answer[2] == LIMIT, answer
    assert 50 <= opened <= 256 - 32
    echo_once(near.port())
    check_api(socket_path)
    proxy.cut()
    eventually(lambda: proxy.accepted() >= 2, 30.0)
    echo_once(near.port())
    assert far.is_running()


def test_local_clients_leave_descriptors_for_the_link_and_the_api(world, gateway):
    server = world.echo_server()
    world.agent(gateway, "far")
    proxy = world.proxy(gateway.port)
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{server.port}",
                       options=["--api", f"unix:{world.path('api')}"],
                       url=f"ws://127.0.0.1:{proxy.port}", wrapper=["prlimit", "--nofile=128:128"])
    with world.keep(connect(near.port())) as first:
        first.sendall(b"1")
        receive_exactly(first, 1)
        crowd = in_parallel(lambda _: world.keep(connect(near.port())), range(200), workers=20)
        near.wait_for("cannot accept connections at the moment", 30.0, stream="err")
        check_api(world.path("api"))
        proxy.cut()
        eventually(lambda: proxy.accepted() >= 2, 30.0)
        first.sendall(b"2")
        assert receive_exactly(first, 1) == b"2"
        assert len(crowd) == 200
