"""The gateway's side of long poll, by raw HTTP (docs/protocol.md, "Long poll")."""

import os
import random
import re
import select
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from culvert.fronts import Nginx
from culvert.peers import connect, echo_bulk, expect_gone
from culvert.polls import Http, Poll, request
from culvert.process import PATIENCE, eventually
from culvert.timing import BUSY, seconds_of
from culvert.resuming import ResumingAgent
from culvert.wire import (ACK, CREDIT, DATA, FIN, GOAWAY, HANDSHAKE, MESSAGE_PING, MESSAGE_PONG,
                          OPEN, RECEIVED, Closed, Link, encode, upgrade_request)
from culvert.world import MEGABYTE

OPENING = {"Culvert-Poll": "open"}
UNKNOWN = "0123456789abcdef0123456789abcdef"


def handshake(name="agent", **fields):
    return encode(HANDSHAKE, {"Version": "1", "Name": name, "Key": "", "Features": [],
                              "Window": 262144, "Epoch": 1, "First": 1, **fields})


def start(world, *options, **settings):
    """A gateway that does not wait for sessions when it is stopped."""
    return world.gateway("--drain", "0", *options, **settings)


def registered(world, gateway, name="agent", **options):
    link = Poll(world, gateway, **options)
    assert link.shake_hands(name)["Ok"]
    return link


def quiet(link):
    """Answers the gateway's first ping, so that nothing more comes down by itself."""
    link.send_message(MESSAGE_PONG, [link.wait_for(MESSAGE_PING)[0]])


def joined(near, far, sid=1, port=80):
    """Opens a stream from one link to the other, or to a ResumingAgent; returns its id there."""
    near.open(sid, "far", port)
    if isinstance(far, ResumingAgent):
        other = far.link.wait_for(OPEN)[0]
        far.send(ACK, [other, True, 0, ""])
    else:
        other = far.wait_for(OPEN)[0]
        far.send_message(ACK, [other, True, 0, ""])
    assert near.wait_for(ACK, sid)[1]
    return other


def filler(size):
    """A body of this size of messages that nobody knows: they are skipped."""
    whole = b"".join(encode(0x7F, [b"x" * 4000]) for _ in range(size // 4006))
    rest = size - len(whole)
    return whole + encode(0x7F, [b"x" * (rest - 5 if rest > 261 else rest - 4)])


# What takes half a minute runs beside the other tests; the last one here looks at what became of it.


def hang(link, begin):
    """A request that waits is answered after 25 s, and can be repeated."""
    assert link.down(link.arrived + 1, timeout=25 + PATIENCE).status == 204
    assert 24 < time.monotonic() - begin < 25 + PATIENCE
    link.asking.send(link.down_fields(link.arrived + 1))
    link.send_message(MESSAGE_PING, [7])
    assert encode(MESSAGE_PONG, [7]) in link.asking.receive().body


def be_silent(link, begin):
    """Without any request the carrier is lost after 40 s."""
    link.gateway.wait_for(r"(link\.lost|unregistered).* agent=silent .*no request", timeout=40 + PATIENCE)
    assert 39 < time.monotonic() - begin < 40 + PATIENCE
    assert link.down(link.arrived + 1, on=link.dial()).status == 410


def log_in_late(link, begin):
    while link.down(1, on=link.dial()).status != 410:
        assert time.monotonic() - begin < 10 + PATIENCE
    assert time.monotonic() - begin > 9


def bring_half(link, begin):
    """A body that stands still is given up after 30 s."""
    one = link.dial()
    one.send(link.up_fields(link.taken + 1), b"x", length=100)
    while not one.is_closed(5):
        link.down(link.arrived, on=link.dial())  # still there
        assert time.monotonic() - begin < 30 + PATIENCE
    assert time.monotonic() - begin > 29


@pytest.fixture(scope="module", autouse=True)
def waits(request, services):
    if all(item.name != "test_waits" for item in request.session.items):
        yield []  # nobody will look
        return
    gateway = start(services, threads=2)
    links = {scenario: Poll(services, gateway) for scenario in (hang, be_silent, log_in_late,
                                                                bring_half)}
    for scenario, name in ((hang, "hanging"), (be_silent, "silent"), (bring_half, "slow")):
        assert links[scenario].shake_hands(name)["Ok"]
        links[scenario].wait_for(MESSAGE_PING)  # while it waits for our answer no other comes
    with ThreadPoolExecutor(len(links)) as pool:
        yield [pool.submit(scenario, link, time.monotonic()) for scenario, link in links.items()]


@pytest.mark.threads
def test_a_session_between_two_that_poll(world, secure):
    gateway = start(world, secure=secure, threads=4)
    context = ssl.create_default_context(
        cafile=world.authority.certificate) if secure else None
    near = registered(world, gateway, "near", context=context)
    far = registered(world, gateway, "far", context=context)
    assert near.opened.fields["cache-control"] == "no-store"
    assert len(near.nonce) == 16
    other = joined(near, far)
    near.send_message(DATA, [1, b"question"])
    assert far.wait_for(DATA, other)[1] == b"question"
    far.send_message(DATA, [other, b"answer"])
    far.send_message(FIN, [other])
    assert near.wait_for(DATA, 1)[1] == b"answer"
    assert near.wait_for(FIN, 1)


@pytest.mark.threads
def test_every_request_on_a_connection_and_perhaps_a_worker_of_its_own(world, secure):
    gateway = start(world, secure=secure, threads=4)
    context = ssl.create_default_context(
        cafile=world.authority.certificate) if secure else None
    near = registered(world, gateway, "near", context=context)
    far = registered(world, gateway, "far", context=context)
    for number in range(12):
        for link in (near, far):
            link.asking, link.bringing = link.dial(), link.dial()
        other = joined(near, far, sid=2 * number + 1)
        near.send_message(DATA, [2 * number + 1, b"x"])
        assert far.wait_for(DATA, other)[1] == b"x"


@pytest.mark.threads
def test_a_link_goes_on_by_long_poll_and_back(world, secure):
    gateway = start(world, secure=secure, threads=4)
    context = ssl.create_default_context(
        cafile=world.authority.certificate) if secure else None
    near = registered(world, gateway, "near", context=context)
    far = ResumingAgent(world, gateway, "far")
    other = joined(near, far)
    left = None
    for number, polls in enumerate((True, True, False, True, False)):
        said = b"%d" % number
        near.send_message(DATA, [1, said])  # by whichever connection: it is not lost
        link = Poll(world, gateway, {"Culvert-Link": far.welcome["Link"].hex()},
                    context=context) if polls else far.dial()
        far.resume(link)
        assert far.link.wait_for(DATA, other)[1] == said
        far.send(DATA, [other, said])
        assert near.wait_for(DATA, 1)[1] == said
        if left is not None:
            assert left.down(left.arrived + 1, on=left.dial()).status == 410
        left = link if polls else None


def test_a_link_that_is_not_known_is_not_resumed(world):
    gateway = start(world, threads=2)
    far = ResumingAgent(world, gateway, "far")
    for fields, changes in (({"Culvert-Link": UNKNOWN}, {"Link": bytes.fromhex(UNKNOWN)}),
                            ({"Culvert-Link": far.welcome["Link"].hex()}, {"Proof": bytes(32)})):
        assert far.refused(Poll(world, gateway, fields), **changes)[0] == 11
    far.link.send_message(MESSAGE_PING, [7])
    assert far.link.wait_for(MESSAGE_PONG) == [7]


@pytest.mark.threads
def test_agents_and_those_who_poll_meet(world):
    gateway = start(world, threads=2)
    server = world.echo_server()
    world.agent(gateway, "agent")
    near = registered(world, gateway, "near")
    near.open(1, "agent", server.port)
    assert near.wait_for(ACK, 1)[1]
    near.send_message(DATA, [1, b"hello"])
    assert near.wait_for(DATA, 1)[1] == b"hello"


def test_what_a_browser_gets(world):
    gateway = start(world)
    client = world.keep(Http(gateway.port))
    client.connection.sendall(b"GET /some/page HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = client.receive()
    assert answer.status == 426
    assert answer.fields["upgrade"] == "websocket"


@pytest.mark.parametrize("status,fields,options", [
    (400, {"Culvert-Poll": "opens"}, {}),
    (400, OPENING, {"body": b"x"}),
    (400, {"Culvert-Poll": UNKNOWN}, {}),
    (400, {"Culvert-Poll": UNKNOWN, "Culvert-Up": 0}, {"body": b"x"}),
    (400, {"Culvert-Poll": UNKNOWN, "Culvert-Up": "1x"}, {"body": b"x"}),
    (400, {"Culvert-Poll": UNKNOWN, "Culvert-Up": 1}, {}),
    (400, {"Culvert-Poll": UNKNOWN, "Culvert-Down": -1}, {}),
    (400, {"Culvert-Poll": UNKNOWN, "Culvert-Down": 1, "Culvert-Up": 1}, {}),
    (403, {**OPENING, "Origin": "https://page.example"}, {}),
    (403, {"Culvert-Poll": UNKNOWN, "Culvert-Down": 1, "Origin": "null"}, {}),
    (405, OPENING, {"method": "GET", "length": ""}),
    (410, {"Culvert-Poll": UNKNOWN, "Culvert-Down": 1}, {}),
    (410, {"Culvert-Poll": UNKNOWN, "Culvert-Up": 1}, {"body": b"x"}),
    (411, {"Culvert-Poll": UNKNOWN, "Culvert-Up": 1}, {"length": ""}),
    (411, {"Culvert-Poll": UNKNOWN, "Culvert-Up": 1, "Transfer-Encoding": "chunked"},
     {"body": b"1\r\nx\r\n0\r\n\r\n", "length": ""}),
    (413, {"Culvert-Poll": UNKNOWN, "Culvert-Up": 1}, {"length": 1024 * 1024 + 1}),
    (413, {"Culvert-Poll": UNKNOWN, "Culvert-Up": 1}, {"length": 2 ** 64 - 1}),
])
def test_requests_that_are_refused(world, status, fields, options):
    gateway = start(world)
    client = world.keep(Http(gateway.port))
    assert client.ask(fields, **options).status == status
    assert client.is_closed()
    link = registered(world, gateway)
    if status in (405, 410):
        return
    wrong = {"Culvert-Poll": link.id, **{name: value for name, value in fields.items()
                                         if name != "Culvert-Poll" or value != UNKNOWN}}
    assert link.bringing.ask(wrong, **options).status == status
    assert link.bringing.is_closed()
    quiet_link = registered(world, gateway, "other")
    assert quiet_link.welcome["Ok"]


def test_repeats(world):
    gateway = start(world)
    far, near = registered(world, gateway, "far"), registered(world, gateway, "near")
    other = joined(near, far)
    number = near.taken + 1
    body = encode(DATA, [1, b"once"])
    for _ in range(3):
        assert near.up(number, body) == 200
    near.taken += 1
    for old in range(1, number):
        assert near.up(old, b"anything, since it was taken") == 200
    assert near.up(number, b"another size") == 409
    assert far.wait_for(DATA, other)[1] == b"once"
    near.send_message(DATA, [1, b"twice"])
    first = far.down(far.arrived + 1)
    assert first.status == 200
    for _ in range(3):
        again = far.down(far.arrived + 1)
        assert (again.status, again.body) == (200, first.body)
    assert far.wait_for(DATA, other)[1] == b"twice"


@pytest.mark.threads
def test_repeats_at_the_same_time(world):
    gateway = start(world, threads=4)
    far, near = registered(world, gateway, "far"), registered(world, gateway, "near")
    other = joined(near, far)

    def bring(body):
        """The status, or None for one that was cut because another took its place."""
        try:
            return near.up(near.taken + 1, body, on=near.dial())
        except (Closed, OSError):
            return None

    def ask(_):
        try:
            answer = far.down(far.arrived + 1, on=far.dial())
            return answer.status, answer.body
        except (Closed, OSError):
            return None

    with ThreadPoolExecutor(3) as pool:
        for number in range(20):
            statuses = set(pool.map(bring, 3 * [encode(DATA, [1, b"%d" % number])]))
            assert 200 in statuses and statuses <= {200, None}
            near.taken += 1
            answers = set(pool.map(ask, range(3))) - {None, (204, b"")}
            assert len(answers) == 1 and answers.pop()[0] == 200
            far.asking, near.asking = far.dial(), near.dial()
            assert far.wait_for(DATA, other)[1] == b"%d" % number


def test_numbers_that_cannot_be(world):
    gateway = start(world)
    link = registered(world, gateway)
    quiet(link)
    ping = encode(MESSAGE_PING, [7])
    assert link.up(link.taken + 2, ping) == 409
    assert link.up(2 ** 63 - 1, ping) == 409
    assert link.up(link.taken + 1, ping) == 200  # on the same connection
    link.taken += 1
    assert link.down(link.arrived + 2).status == 409
    answer = link.down(link.arrived + 1)
    assert answer.status == 200
    link.arrived += 1
    assert link.down(link.arrived + 2).status == 409
    link.send_message(MESSAGE_PING, [8])
    assert link.down(link.arrived + 1).status == 200
    assert link.down(link.arrived).status == 409
    assert link.down(link.arrived - 1 or 1).status == 409


def test_a_truncated_body_is_not_taken(world):
    gateway = start(world, threads=2)
    link = registered(world, gateway)
    quiet(link)
    body = encode(MESSAGE_PING, [7])
    for size in (0, 1, len(body) - 1):
        cut = link.dial()
        cut.send(link.up_fields(link.taken + 1), body[:size], length=len(body))
        cut.close()
    link.send(body)
    assert link.wait_for(MESSAGE_PONG) == [7]


def test_a_body_of_every_size(world, secure):
    gateway = start(world, secure=secure, threads=2)
    context = ssl.create_default_context(
        cafile=world.authority.certificate) if secure else None
    link = registered(world, gateway, context=context)
    for size in (400, 8191, 8192, 70000, 524288, 1024 * 1024 - 1, 1024 * 1024):
        body = filler(size)
        assert len(body) == size
        link.send(body)
    assert link.bringing.ask(link.up_fields(link.taken + 1), length=1024 * 1024 + 1).status == 413
    link.bringing = link.dial()
    link.send_message(MESSAGE_PING, [7])
    assert link.wait_for(MESSAGE_PONG) == [7]


def test_who_has_not_logged_in_brings_no_more_than_a_handshake(world):
    gateway = start(world)
    link = Poll(world, gateway)
    assert link.up(1, b"\x01" + b"x" * 4096) == 413
    link.bringing = link.dial()
    assert link.up(1, handshake()) == 200


def test_a_body_that_comes_byte_by_byte(world):
    gateway = start(world)
    link = registered(world, gateway)
    quiet(link)
    body = filler(600) + encode(MESSAGE_PING, [7])
    whole = request(link.up_fields(link.taken + 1), body)
    for index in range(len(whole)):
        link.bringing.connection.sendall(whole[index:index + 1])
    assert link.bringing.receive().status == 200
    link.taken += 1
    assert link.wait_for(MESSAGE_PONG) == [7]


def test_a_body_that_stands_still_makes_way_for_its_repeat(world):
    gateway = start(world)
    link = registered(world, gateway)
    quiet(link)
    body = encode(MESSAGE_PING, [7])
    slow = link.dial()
    slow.send(link.up_fields(link.taken + 1), length=len(body), extra="Expect: 100-continue\r\n")
    assert slow.receive().status == 100
    slow.connection.sendall(body[:1])
    link.send(body)
    assert link.wait_for(MESSAGE_PONG) == [7]
    assert slow.is_closed()


def test_a_newer_request_replaces_the_one_that_hangs(world):
    gateway = start(world, threads=4)
    link = registered(world, gateway)
    quiet(link)
    first, second = link.dial(), link.dial()
    first.send(link.down_fields(link.arrived + 1))
    second.send(link.down_fields(link.arrived + 1))
    ready, _, _ = select.select([first.connection, second.connection], [], [], PATIENCE)
    assert len(ready) == 1
    replaced, left = (first, second) if ready == [first.connection] else (second, first)
    assert replaced.receive().status == 204
    link.send_message(MESSAGE_PING, [7])
    answer = left.receive()
    assert answer.status == 200 and encode(MESSAGE_PONG, [7]) in answer.body
    again = replaced.ask(link.down_fields(link.arrived + 1))
    assert again.body == answer.body


def test_one_that_hung_up_while_it_waited(world):
    gateway = start(world, threads=2)
    link = registered(world, gateway)
    quiet(link)
    gone = link.dial()
    gone.send(link.down_fields(link.arrived + 1))
    gone.close()
    link.send_message(MESSAGE_PING, [7])
    assert link.wait_for(MESSAGE_PONG) == [7]


def test_requests_ahead_of_their_time(world):
    gateway = start(world)
    link = registered(world, gateway)
    quiet(link)
    ping = [encode(MESSAGE_PING, [number]) for number in (7, 8)]
    one = link.dial()
    one.connection.sendall(
        request(link.up_fields(link.taken + 1), ping[0]) +
        request(link.down_fields(link.arrived + 1)) +
        request(link.up_fields(link.taken + 2), ping[1]) +
        request(link.down_fields(link.arrived + 2)))
    answers = [one.receive() for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    assert encode(MESSAGE_PONG, [7]) in answers[1].body
    assert encode(MESSAGE_PONG, [8]) in answers[3].body


def test_ahead_while_a_request_hangs(world):
    gateway = start(world)
    link = registered(world, gateway)
    quiet(link)
    one = link.dial()
    one.send(link.down_fields(link.arrived + 1))
    body = filler(100000) + encode(MESSAGE_PING, [8])
    sender = threading.Thread(target=one.send, args=(link.up_fields(link.taken + 2), body))
    sender.start()
    link.send_message(MESSAGE_PING, [7])
    assert encode(MESSAGE_PONG, [7]) in one.receive().body
    assert one.receive().status == 200
    sender.join()


def test_a_body_is_fetched_again_after_a_cut(world):
    gateway = start(world, threads=4)
    near, far = registered(world, gateway, "near"), registered(world, gateway, "far")
    other = joined(near, far)
    sent = os.urandom(200 * 1024)
    pieces = [sent[at:at + 50 * 1024] for at in range(0, len(sent), 50 * 1024)]
    near.send(b"".join(encode(DATA, [1, piece]) for piece in pieces))
    for _ in range(5):
        cut = far.dial()
        cut.send(far.down_fields(far.arrived + 1))
        cut.connection.recv(2000)
        cut.close()
    got = b""
    while len(got) < len(sent):
        got += far.wait_for(DATA, other)[1]
    assert got == sent


def test_other_requests_on_the_same_connection(world):
    """As a proxy may send, whose connections are for whoever comes."""
    gateway = start(world, threads=4)
    one = world.keep(Http(gateway.port))
    links = []
    for name in ("first", "second"):
        link = Poll(world, gateway, on=one)
        assert link.shake_hands(name)["Ok"]
        links.append(link)
    for link in (*links, *links):
        quietly = link.taken
        link.send_message(MESSAGE_PING, [quietly])
        assert link.wait_for(MESSAGE_PONG) == [quietly]
    answer = one.ask(OPENING)
    assert answer.status == 200 and answer.fields["culvert-poll"] != links[0].id
    one.connection.sendall(upgrade_request())
    head = b""
    while b"\r\n\r\n" not in head:
        head += one.connection.recv(65536)
    response, _, rest = head.partition(b"\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 101 ")
    assert Link(one.connection, rest, response.decode()).shake_hands("third")["Ok"]
    links[0].bringing = links[0].asking = links[0].dial()
    links[0].send_message(MESSAGE_PING, [99])
    assert links[0].wait_for(MESSAGE_PONG) == [99]


def test_an_old_proxy(world):
    """HTTP/1.0 and a connection for each request, as nginx does by default."""
    gateway = start(world, threads=2)

    def ask(fields, body=b""):
        one = Http(gateway.port)
        answer = one.ask(fields, body, version="1.0", extra="Connection: close\r\n")
        assert answer.fields["connection"] == "close" and one.is_closed()
        one.close()
        return answer

    name = ask(OPENING).fields["culvert-poll"]
    assert ask({"Culvert-Poll": name, "Culvert-Up": 1}, handshake()).status == 200
    answer = ask({"Culvert-Poll": name, "Culvert-Down": 1})
    assert answer.status == 200 and answer.body[0] == ACK


def test_a_client_that_waits_to_be_asked_for_its_body(world):
    gateway = start(world)
    link = registered(world, gateway)
    quiet(link)
    body = encode(MESSAGE_PING, [7])
    link.bringing.send(link.up_fields(link.taken + 1), length=len(body),
                       extra="Expect: 100-continue\r\n")
    assert link.bringing.receive().status == 100
    link.bringing.connection.sendall(body)
    assert link.bringing.receive().status == 200
    link.taken += 1
    assert link.wait_for(MESSAGE_PONG) == [7]
    link.bringing.send(link.up_fields(link.taken + 2), length=len(body),
                       extra="Expect: 100-continue\r\n")
    assert link.bringing.receive().status == 409


def test_more_connections_than_anybody_needs(world):
    gateway = start(world, threads=2)
    link = registered(world, gateway)
    quiet(link)
    before = gateway.descriptors()
    many = [link.dial() for _ in range(40)]
    for one in many:
        assert one.ask(link.up_fields(1), handshake()).status == 200
    eventually(lambda: gateway.descriptors() <= before + 8, message="the connections stay")
    link.bringing, link.asking = link.dial(), link.dial()
    link.send_message(MESSAGE_PING, [7])
    assert link.wait_for(MESSAGE_PONG) == [7]


def test_more_connections_than_a_login_needs(world):
    gateway = start(world)
    link = Poll(world, gateway)
    many = [link.dial() for _ in range(6)]
    for one in many:
        assert link.up(9, b"x", on=one) == 409
    assert sum(one.is_closed(0.2) for one in many) == 3


def test_a_refused_login_is_told(world):
    gateway = start(world, is_open=False)
    link = Poll(world, gateway)
    assert link.shake_hands("agent", "wrong")["Code"] == 2
    with pytest.raises(Closed):
        link.receive()
    assert link.down(link.arrived + 1, on=link.dial()).status == 410


@pytest.mark.parametrize("body", [b"x" * 100, encode(MESSAGE_PING, [1]), b"\x01"])
def test_what_is_no_handshake(world, body):
    gateway = start(world)
    link = Poll(world, gateway)
    assert link.up(1, body) == 200
    assert link.down(1, on=link.dial()).status == 410
    assert registered(world, gateway).welcome["Ok"]


def test_the_second_waits_for_the_login(world):
    """What comes behind a handshake is read when the login is through."""
    gateway = start(world, is_open=False)
    link = Poll(world, gateway)
    key = gateway.add_key("agent")
    link.bringing.connection.sendall(
        request(link.up_fields(1), handshake(Key=key)) +
        request(link.up_fields(2), encode(MESSAGE_PING, [7])))
    assert [link.bringing.receive().status for _ in range(2)] == [200, 200]
    link.wait_for(ACK)
    assert link.wait_for(MESSAGE_PONG) == [7]


def test_whose_address_it_is(world):
    events = world.path("events.json")
    gateway = start(world, "--events", events, "--trusted-proxy", "127.0.0.1", threads=2)
    link = Poll(world, gateway, opening=b"PROXY TCP4 127.0.0.1 127.0.0.1 5000 443\r\n")
    link.shake_hands("direct")
    one = world.keep(Http(gateway.port))
    for number in (1, 2):
        link = Poll(world, gateway, on=one, fields={"X-Forwarded-For": f"198.51.100.{number}"})
        assert link.shake_hands(f"behind{number}")["Ok"]

    def addresses():
        with open(events, encoding="ascii") as file:
            return dict(re.findall(r'"agent.registered".*?"agent":"(\w+)".*?"address":"([^"]*)"',
                                   file.read()))

    assert eventually(lambda: len(addresses()) == 3 and addresses()) == {
        "direct": "127.0.0.1:5000", "behind1": "198.51.100.1", "behind2": "198.51.100.2"}


def test_too_many_at_once(world):
    gateway = start(world, "--handshakes-per-second", "1", threads=2)
    answers = [world.keep(Http(gateway.port)).ask(OPENING) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 503, 503, 503]
    assert [answer.fields["retry-after"] for answer in answers[1:]] == ["1", "2", "3"]
    link = Poll.__new__(Poll)
    link.id = answers[0].fields["culvert-poll"]
    one = world.keep(Http(gateway.port))
    assert one.ask(link.up_fields(1), handshake()).status == 200
    assert one.ask(link.down_fields(1)).body[0] == ACK


def test_those_who_do_not_log_in_make_room(world):
    gateway = start(world, "--handshakes-per-second", "0", threads=1)
    one = world.keep(Http(gateway.port))
    names = [one.ask(OPENING).fields["culvert-poll"] for _ in range(1200)]
    for name, status in ((names[-1], 409), (names[0], 410)):
        assert one.ask({"Culvert-Poll": name, "Culvert-Up": 9}, b"x").status == status


def test_a_gateway_that_stops(world):
    gateway = start(world, threads=2)
    link, idle = registered(world, gateway), registered(world, gateway, "idle")
    for one in (link, idle):
        quiet(one)
    link.asking.send(link.down_fields(link.arrived + 1))
    gateway.ask_to_stop()
    answer = link.asking.receive()
    goaway = encode(GOAWAY, ["the gateway is stopping", 0])
    assert answer.status == 200 and goaway in answer.body, answer.body
    assert gateway.wait() == 0


@pytest.mark.threads
def test_who_polls_may_finish_on_new_connections(world):
    gateway = world.gateway("--drain", "30", threads=2)
    near, far = registered(world, gateway, "near"), registered(world, gateway, "far")
    other = joined(near, far)
    for link in (near, far):
        link.asking.close()
        link.bringing.close()
    gateway.ask_to_stop()
    gateway.wait_for("stopping; 1 session")
    for link in (near, far):
        link.asking, link.bringing = link.dial(), link.dial()
    near.wait_for(GOAWAY)
    near.send_message(DATA, [1, b"last words"])
    near.send_message(FIN, [1])
    assert far.wait_for(DATA, other)[1] == b"last words"
    far.send_message(FIN, [other])
    near.wait_for(FIN, 1)
    assert gateway.wait() == 0


def test_one_of_many_that_are_idle_costs_little(world, sanitized):
    count = 50 if sanitized else 500
    gateway = start(world, "--handshakes-per-second", "0", threads=1)
    first = registered(world, gateway, "first")
    first.asking.send(first.down_fields(first.arrived + 1))
    before = gateway.memory()
    waiting = []
    for number in range(count):
        link = registered(world, gateway, f"agent{number}")
        quiet(link)
        link.asking.send(link.down_fields(link.arrived + 1))
        waiting.append(link)
    each = (gateway.memory() - before) / count
    assert sanitized or each < 16 * 1024, each
    for link in waiting[::10]:
        link.send_message(MESSAGE_PING, [7])
        assert encode(MESSAGE_PONG, [7]) in link.asking.receive().body


def test_a_flood_of_connections_that_say_little(world):
    gateway = start(world, "--handshakes-per-second", "0", threads=1)
    link = registered(world, gateway)
    quiet(link)
    begun = [world.keep(connect(gateway.port)) for _ in range(1100)]
    for one in begun:
        one.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nCulvert-Poll: ")
    expect_gone(begun[0])
    link.send_message(MESSAGE_PING, [7])
    assert link.wait_for(MESSAGE_PONG) == [7]

def confuse(link, choices, until):
    """Requests as they come to somebody's mind, from one who does not read every answer."""
    one = None
    while time.monotonic() < until:
        try:
            one = one if one is not None and choices.random() < 0.7 else link.dial()
            number = choices.choice((link.taken + 1, link.taken + 1, 1, 2, 99))
            if choices.random() < 0.5:
                one.send(link.down_fields(choices.choice((1, 2, 3, link.arrived + 1))))
            else:
                body = encode(MESSAGE_PING, [number]) * choices.choice((1, 1, 1000))
                cut = choices.choice((len(body), len(body), 1))
                one.send(link.up_fields(number), body[:cut], length=len(body))
                link.taken += number == link.taken + 1 and cut == len(body)
            if choices.random() < 0.6:
                one.receive(choices.choice((0.01, 0.1)))
        except (Closed, OSError):
            one = None


@pytest.mark.threads
def test_many_requests_that_make_no_sense(world):
    gateway = start(world, "--handshakes-per-second", "0", threads=4)
    links = [Poll(world, gateway) for _ in range(8)]
    for number, link in enumerate(links):
        if number % 4:
            assert link.shake_hands(f"agent{number}")["Ok"]
    until = time.monotonic() + 2
    with ThreadPoolExecutor(16) as pool:
        done = [pool.submit(confuse, link, random.Random(seed), until)
                for seed, link in enumerate(2 * links)]
        for one in done:
            one.result()
    quiet(registered(world, gateway, "orderly"))
    with ThreadPoolExecutor(16) as pool:
        until = time.monotonic() + 2
        done = [pool.submit(confuse, link, random.Random(seed), until)
                for seed, link in enumerate(2 * links)]
        gateway.ask_to_stop()
        for one in done:
            one.result()
    assert gateway.wait() == 0


def pump(link, sid, stop):
    """Sends data on this stream as its credit allows."""
    credit = 262144
    while not stop.is_set():
        count = min(credit // 60000, 12)
        try:
            if count > 0:
                link.send(b"".join(encode(DATA, [sid, bytes(60000)]) for _ in range(count)))
                credit -= 60000 * count
            else:
                credit += link.wait_for(CREDIT, sid)[1]
        except (Closed, OSError):
            return


def test_fast_through_a_proxy_that_buffers(world, sanitized):
    """At least 50 Mbit/s up, and again 50 Mbit/s down beside it."""
    front = Nginx(world, start(world, threads=2), "")
    near, far = registered(world, front, "near"), registered(world, front, "far")
    other = joined(near, far)
    far.send_message(CREDIT, [other, 2 ** 30])
    stop = threading.Event()
    sender = threading.Thread(target=pump, args=(near, 1, stop))
    sender.start()
    goal = (1 if sanitized else 25) * MEGABYTE
    begin, size, reported = time.monotonic(), 0, 0
    while size < goal:
        size += len(far.wait_for(DATA, other)[1])
        if far.counted - reported > 10:
            reported = far.counted
            far.send_message(RECEIVED, [reported])
    rate = size * 8 / 1e6 / (time.monotonic() - begin)
    stop.set()
    for one in (near.asking, near.bringing):
        one.connection.shutdown(socket.SHUT_RDWR)
    sender.join()
    alone = seconds_of(lambda: echo_bulk(world.echo_server().port, goal))
    assert sanitized or rate > min(50, goal * 8 / 1e6 / alone / BUSY), rate


def test_waits(waits):
    for scenario in waits:
        scenario.result(60 + PATIENCE)
