"""Links that lose their connection, as the gateway has to treat them: by raw wire, so that each
handshake is as right or as wrong as the test wants."""

import os
import re
import signal
import socket
import sqlite3
import threading
import time

import pytest

from culvert.events import read_events, wait_for_events
from culvert.peers import reset
from culvert.process import eventually
from culvert.resuming import Maker, Pair, ResumingAgent
from culvert.wire import (ACK, CREDIT, DATA, END, FIN, GOAWAY, HANDSHAKE, MESSAGE_PING,
                          MESSAGE_PONG, RECEIVED, RESET, Closed, Link, encode)
from culvert.world import MEGABYTE

FORBIDDEN, UNKNOWN_AGENT, UNREACHABLE, LINK_LOST, NAME_TAKEN = 2, 3, 5, 11, 14
NOT_KNOWN = (LINK_LOST, "the link is not known here any more")


@pytest.fixture
def make(world):
    return Maker(world)


# ---- it works ----


def test_the_welcome_says_how_long(make):
    pair = make()
    assert pair.far.welcome["Resume"] == 60
    assert len(pair.far.welcome["Link"]) == 16
    assert len(pair.far.welcome["Secret"]) == 32


def test_a_stream_goes_on(make, secure):
    pair = make(secure=secure)
    pair.check()
    pair.cut()
    said = [pair.say() for _ in range(3)]
    welcome = pair.far.resume()
    assert (welcome["Epoch"], welcome["Received"]) == (2, len(pair.far.sent))
    for one in said:
        pair.hear(one)
    pair.check()
    assert pair.count("agent.unregistered") == pair.count("agent.registered") - 1 == 0


def test_what_was_not_taken_in_comes_again(make):
    pair = make()
    said = [pair.say() for _ in range(3)]
    for one in said:
        pair.hear(one)
    taken = pair.far.link.counted - 2
    pair.cut()
    assert pair.far.resume(Received=taken)["First"] == taken + 1
    for one in said[1:]:
        pair.hear(one)
    pair.check()
    event, = wait_for_events(pair.events, "link.resumed", agent="far")
    assert event["replayed"] == 2
    assert 0 < event["replayed_bytes"] < 100


def test_what_the_gateway_has_is_taken_once(make):
    """The agent sends all again, as if it knew nothing; the gateway leaves out what it had."""
    pair = make()
    pair.answer()
    pair.cut()
    link, welcome = pair.far.ask()
    assert welcome["Received"] == len(pair.far.sent) == 2
    pair.far.link = link
    pair.far.epoch += 1
    link.counted = welcome["First"] - 1
    for message in pair.far.sent:
        link.send(message)
    pair.check()


def test_both_lose_their_connections(make):
    pair = make()
    pair.near.cut()
    pair.far.cut()
    wait_for_events(pair.events, "link.lost", 2)
    pair.near.resume()
    said = pair.say()
    pair.far.resume()
    pair.hear(said)
    pair.check()


def test_a_new_connection_replaces_a_live_one(make):
    pair = make()
    old = pair.far.link
    pair.far.resume()
    old.wait_closed()
    pair.check()
    event, = wait_for_events(pair.events, "link.resumed", agent="far")
    assert 0 <= event["seconds"] < 30
    assert pair.count("link.lost") == 0


@pytest.mark.threads
def test_a_carrier_goes_to_its_links_loop(make, secure):
    """The kernel chooses the loop that a connection comes to."""
    pair = make(threads=4, secure=secure)
    for number in range(1, 41):
        if number % 3:
            pair.cut(number - number // 3)
        said = pair.say()
        pair.far.resume()
        pair.hear(said)
        pair.answer()
    assert pair.count("agent.registered") == 1
    assert pair.count("agent.unregistered") == 0


def test_the_events(make):
    pair = make(key=True)
    pair.cut()
    pair.far.resume()
    lost, = wait_for_events(pair.events, "link.lost")
    resumed, = wait_for_events(pair.events, "link.resumed")
    registered, = wait_for_events(pair.events, "agent.registered", agent="far")
    assert set(lost) == {"event", "time", "seq", "agent", "address", "dialect", "reason"}
    assert set(resumed) == {"event", "time", "seq", "agent", "address", "dialect", "seconds",
                            "replayed", "replayed_bytes"}
    assert lost["address"] == registered["address"] != resumed["address"]
    assert resumed["address"] == "%s:%d" % pair.far.link.connection.getsockname()
    assert lost["dialect"] == resumed["dialect"] == "culvert.1"
    assert "reset" in lost["reason"]
    assert 0 < resumed["seconds"] < 60


# ---- opens towards an agent that is away ----


@pytest.mark.parametrize("threads", [1, 4])
def test_an_open_waits_for_the_agent(make, threads):
    pair = make(threads=threads)
    pair.cut()
    pair.near.open(3, "far")
    pair.near.send(DATA, [3, b"early"])
    pair.near.open(5, "nobody")
    assert pair.near.link.wait_for(ACK, 5)[1:3] == [False, UNKNOWN_AGENT]
    pair.far.resume()
    sid = pair.accept(3)
    assert pair.far.link.wait_for(DATA, sid)[1] == b"early"
    pair.check()


@pytest.mark.parametrize("threads", [1, 4])
def test_an_open_does_not_wait_for_ever(make, threads):
    pair = make(threads=threads)
    pair.cut()
    started = time.monotonic()
    pair.near.open(3, "far")
    answer = pair.near.link.wait_for(ACK, 3)
    assert time.monotonic() - started > 4.5
    assert answer[1:3] == [False, UNREACHABLE]
    assert "not back yet" in answer[3]
    event, = wait_for_events(pair.events, "session.refused")
    assert event["code"] == UNREACHABLE
    pair.far.resume()
    pair.check()


# ---- it cannot be resumed ----


def expect_ended(pair, reason):
    """The far agent is no member any more, nor is its stream; its link is not known."""
    body = pair.near.link.wait_for(RESET, pair.near_sid)
    assert body[1] == LINK_LOST, body
    event, = wait_for_events(pair.events, "agent.unregistered", agent="far")
    assert reason in event["reason"]
    assert pair.far.refused() == NOT_KNOWN


def test_the_window_passes(make):
    pair = make("--resume-window", "1")
    assert pair.far.welcome["Resume"] == 1
    pair.cut()
    expect_ended(pair, "not resumed within 1 s")


def test_a_window_of_nothing(make):
    pair = make("--resume-window", "0")
    assert pair.far.welcome["Resume"] == 0
    pair.far.cut()
    expect_ended(pair, "reset")
    assert pair.count("link.lost") == 0


def test_an_agent_that_ends_its_link(make):
    pair = make()
    pair.far.send(END, [0, "bye"])
    expect_ended(pair, "")
    assert pair.count("link.lost") == 0


def test_an_agent_that_breaks_the_protocol(make):
    pair = make()
    pair.far.send(RECEIVED, [1 << 40])
    expect_ended(pair, "protocol")
    assert pair.count("link.lost") == 0


def test_another_gateway(make, world):
    pair = make()
    pair.far.gateway = world.gateway()
    assert pair.far.refused() == NOT_KNOWN
    pair.check()


def test_a_restarted_gateway(make, world):
    pair = make()
    make.gateway.kill()
    make.gateway.wait()
    pair.far.gateway = world.gateway()
    assert pair.far.refused() == NOT_KNOWN
    assert pair.far.link is not None


def test_a_fresh_login_takes_the_name_at_once(make, world):
    pair = make()
    pair.cut()
    fresh = ResumingAgent(world, make.gateway, "far")
    assert fresh.welcome["Link"] != pair.far.welcome["Link"]
    expect_ended(pair, "another login")
    pair.far = fresh
    pair.near_sid, pair.far_sid = pair.open()
    pair.check()


def test_a_live_link_keeps_its_name(make, world):
    pair = make()
    link = world.keep(Link.connect(make.gateway))
    link.send(encode(HANDSHAKE, {"Version": "1", "Name": "far", "Window": 1, "Epoch": 1,
                                 "First": 1}))
    assert pair.far.link.receive()[0] in (MESSAGE_PING, RECEIVED)
    pair.far.resume()
    assert link.receive()[1]["Code"] == NAME_TAKEN
    pair.check()


# ---- attacks: the link is not harmed, and nothing is told ----


def attack_wrong_proof(pair):
    return pair.far.refused(Proof=os.urandom(32))


def attack_no_secret(pair):
    """Who has seen the link's name and uses it as the secret."""
    link = pair.far.dial()
    right = pair.far.handshake(link)
    return pair.far.refused(link, Proof=right["Link"] + right["Link"])


def attack_unknown_link(pair):
    return pair.far.refused(Link=os.urandom(16))


def attack_another_name(pair):
    return pair.far.refused(Name="near")


def attack_anothers_link(pair):
    return pair.near.refused(Link=pair.far.welcome["Link"])


def attack_the_same_epoch(pair):
    return pair.far.refused(Epoch=1)


def attack_epoch_zero(pair):
    return pair.far.refused(Epoch=0)


def attack_sniffed_and_unused(pair):
    """A handshake that was made for another connection."""
    return pair.far.refused(**pair.far.handshake(pair.far.dial()))


ATTACKS = [attack_wrong_proof, attack_no_secret, attack_unknown_link, attack_another_name,
           attack_anothers_link, attack_the_same_epoch, attack_epoch_zero,
           attack_sniffed_and_unused]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_on_a_live_link(make, attack):
    pair = make(threads=2)
    assert attack(pair) == NOT_KNOWN
    pair.check()
    assert pair.count("link.lost") == pair.count("link.resumed") == 0


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_on_a_link_that_waits(make, attack):
    pair = make(threads=2)
    pair.cut()
    assert attack(pair) == NOT_KNOWN
    said = pair.say()
    pair.far.resume()
    pair.hear(said)
    pair.check()


def test_a_handshake_that_was_sniffed(make):
    """It worked once; it does not again, on another connection."""
    pair = make()
    pair.cut()
    link = pair.far.dial()
    sniffed = pair.far.handshake(link)
    pair.far.resume(link)
    assert pair.far.refused(**sniffed) == NOT_KNOWN
    pair.check()


def test_an_old_epoch_with_a_right_proof(make):
    """The connection that was overtaken by a later one."""
    pair = make()
    slow = pair.far.dial()
    pair.far.resume(Epoch=7)
    assert pair.far.refused(slow, Epoch=6) == NOT_KNOWN
    pair.check()
    pair.far.resume()
    assert pair.far.epoch == 8
    pair.check()


def test_a_guess_is_an_event_and_an_unknown_link_is_none(make):
    pair = make()
    attack_unknown_link(pair)
    attack_wrong_proof(pair)
    event, = wait_for_events(pair.events, "auth.failed")
    assert event["code"] == LINK_LOST
    assert "prove" in event["reason"]
    assert event["agent"] == "far"


@pytest.mark.parametrize("numbers", [{"First": 1000}, {"Received": 1000}, {"First": 0}])
def test_numbers_that_cannot_be(make, numbers):
    """From one who has the secret: the link is over, and nothing else is harmed."""
    pair = make()
    pair.cut()
    assert pair.far.refused(**numbers) == NOT_KNOWN
    expect_ended(pair, "cannot be")
    pair.near.open(3, "far")
    assert pair.near.link.wait_for(ACK, 3)[1:3] == [False, UNKNOWN_AGENT]


def test_who_cannot_be_answered(make, world):
    """The connection is gone by the time that the other loop has a refusal for it."""
    pair = make(threads=4)
    for i in range(40):
        agent = ResumingAgent(world, pair.far.gateway, f"gone{i}")
        link = agent.dial()
        link.send(encode(HANDSHAKE, agent.handshake(link, First=1000)))
        reset(link.connection)
    for i in range(40):
        wait_for_events(pair.events, "agent.unregistered", agent=f"gone{i}")
    pair.check()


@pytest.mark.parametrize("left_out", ["Link", "Proof", "Received"])
def test_half_of_what_resumes(make, left_out):
    pair = make()
    link = pair.far.dial()
    link.send(encode(HANDSHAKE, pair.far.handshake(link, **{left_out: None})))
    with pytest.raises(Closed):
        link.receive()
    pair.check()


# ---- key and script are asked again ----


def test_a_key_that_is_revoked_meanwhile(make):
    pair = make(key=True)
    pair.cut()
    assert make.gateway.key("revoke", "far").returncode == 0
    body = pair.near.link.wait_for(RESET, pair.near_sid)
    assert body[1] == FORBIDDEN
    event, = wait_for_events(pair.events, "agent.unregistered", agent="far")
    assert "revoked" in event["reason"]
    assert pair.far.refused() == NOT_KNOWN


def test_a_wrong_key_with_a_right_proof(make):
    pair = make(key=True, threads=2)
    pair.cut()
    assert pair.far.refused(Key="cvk_wrong")[0] == FORBIDDEN
    assert pair.far.refused(Key=pair.near.key)[0] == FORBIDDEN
    said = pair.say()
    pair.far.resume()
    pair.hear(said)
    pair.check()


def test_a_link_goes_with_the_key_that_it_was_resumed_with(make):
    """It outlives the key that it began with."""
    pair = make(key=True)
    rotated = make.gateway.key("rotate", "far", "--grace", "1s")
    pair.far.key = re.search(r"cvk_\S+", rotated.stdout)[0]
    pair.cut()
    pair.far.resume()

    # Whose key is replaced later and who does not come back has gone when that grace is over.
    assert make.gateway.key("rotate", "near", "--grace", "1s").returncode == 0
    wait_for_events(pair.events, "agent.unregistered", agent="near")
    pair.far.send(MESSAGE_PING, [7])
    assert pair.far.link.wait_for(MESSAGE_PONG) == [7]
    assert pair.count("agent.unregistered") == 0


def test_the_script_is_asked_again(make, world):
    allows = "function connect() return true end\n"
    path = world.write("policy.lua", allows)
    pair = make("--auth-lua", path, policy=None)
    pair.cut()

    def change(text):
        count = make.gateway.count("was read again|policy.reloaded")
        world.write("policy.lua", text)
        make.gateway.signal(signal.SIGHUP)
        eventually(lambda: make.gateway.count("was read again|policy.reloaded") > count)

    change(allows + "function register() return false, 'not at night' end")
    code, why = pair.far.refused()
    assert (code, why) == (FORBIDDEN, "not at night")
    change(allows)
    said = pair.say()
    pair.far.resume()
    pair.hear(said)
    pair.check()


# ---- the end ----


def test_a_gateway_that_stops_does_not_wait_for_who_is_away(make):
    pair = make("--drain", "120")
    pair.cut()
    assert make.gateway.stop() == 0
    event, = wait_for_events(pair.events, "agent.unregistered", agent="far")
    assert "stopping" in event["reason"]


def test_a_link_that_is_lost_while_the_gateway_stops(make):
    pair = make("--drain", "30")
    make.gateway.signal(signal.SIGTERM)
    pair.near.link.wait_for(GOAWAY)
    pair.far.cut()
    pair.near.link.wait_for(RESET, pair.near_sid)
    assert make.gateway.wait() == 0
    assert pair.count("link.lost") == 0


def test_a_half_close_is_kept(make):
    pair = make()
    pair.cut()
    said = pair.say()
    pair.near.send(FIN, [pair.near_sid])
    pair.far.resume()
    pair.hear(said)
    pair.far.link.wait_for(FIN, pair.far_sid)
    pair.answer()


# ---- memory ----


def drain(connection):
    """Takes what comes until the end."""
    try:
        while connection.recv(MEGABYTE):
            pass
    except OSError:
        pass


def send_until_stuck(pair):
    """The asking agent sends what it has credit for until none comes any more; the answering one
    takes it all and acknowledges nothing."""
    near = pair.near
    pair.far.send(CREDIT, [pair.far_sid, 8 * MEGABYTE])
    threading.Thread(target=drain, args=[pair.far.link.connection], daemon=True).start()
    credit = near.welcome["Window"]
    sent = 0
    while sent < 8 * MEGABYTE:
        while credit >= 65536:
            near.send(DATA, [pair.near_sid, bytes(65536)])
            credit -= 65536
            sent += 65536
        try:
            credit += near.link.wait_for(CREDIT, pair.near_sid, 1.0)[1]
        except TimeoutError:
            break
    return sent


def test_links_that_wait_make_room_when_memory_runs_out(make, world):
    """Each keeps 4 MiB that nobody acknowledges; they go before one that is connected."""
    pair = make("--max-memory", "16M")
    waiting = []
    for number in range(2, 7):
        far = ResumingAgent(world, make.gateway, f"far{number}")
        one = Pair(pair.near, far, pair.events, sid=1000 * number + 1)
        assert send_until_stuck(one) > 3 * MEGABYTE
        one.far.link.connection.shutdown(socket.SHUT_RDWR)
        one.wait_lost()
        waiting.append(far.name)
    gone, = wait_for_events(pair.events, "agent.unregistered")[:1]
    assert gone["agent"] in waiting
    assert "memory" in gone["reason"]
    pair.check()
    closed = {event["agent"] for event in read_events(pair.events)
              if event["event"] == "session.closed"}
    assert closed <= set(waiting)


# ---- what is kept with a link ----


def test_the_user_of_an_agent_survives_its_connection(make, world):
    """For events and scripts: it comes from the key of the handshake that resumed the link."""
    pair = make(key=True, user="ann")
    pair.check()
    pair.cut()
    pair.far.resume()
    pair.near.cut()
    wait_for_events(pair.events, "link.lost", agent="near")
    pair.near.resume()
    pair.open()
    pair.check()
    for name, event in (("far", "link.resumed"), ("near", "link.resumed")):
        assert wait_for_events(pair.events, event, agent=name)[0]["user"] == "ann"
    assert wait_for_events(pair.events, "session.opened", 2)[1]["source_user"] == "ann"


def test_askers_that_leave_while_they_wait_for_an_agent(make, world):
    """Their sessions are no longer among those that wait, whatever takes their memory next."""
    pair = make()
    pair.cut()
    for sid in range(101, 201, 2):
        pair.near.open(sid, "far")
        pair.near.send(RESET, [sid, 0, ""])
    pair.near.link.send_message(MESSAGE_PING, [7])
    assert pair.near.link.wait_for(MESSAGE_PONG) == [7]
    other = ResumingAgent(world, pair.near.gateway, "other")
    pairs = [Pair(pair.near, other, pair.events, sid=sid) for sid in range(1001, 1101, 2)]
    pair.far.resume()
    pair.check()
    for one in pairs:
        one.check()


def test_the_key_that_resumed_a_link_is_its_key(make, world):
    """The one that it registered with may end."""
    pair = make(key=True)
    ResumingAgent(world, make.gateway, "other", make.gateway.add_key("other"))
    result = make.gateway.key("rotate", "far", "--grace", "1h")
    pair.far.key = re.search(r"cvk_\S+", result.stdout)[0]
    pair.far.resume()
    with sqlite3.connect(os.path.join(make.gateway.data, "culvert.db")) as store:
        store.execute("DELETE FROM keys WHERE name = 'other' OR id = "
                      "(SELECT min(id) FROM keys WHERE name = 'far')")
    wait_for_events(pair.events, "agent.unregistered", agent="other")
    pair.check()
    assert pair.count("agent.unregistered") == 0
