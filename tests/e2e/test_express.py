"""Express connections, as the gateway has to treat them: by raw wire, so that each message is as
right or as wrong as the test wants."""

import pytest

from culvert.events import read_events, wait_for_events
from culvert.resuming import Maker
from culvert.wire import DATA, EARLY, EXPRESS, FIN, encode

FORBIDDEN, PROTOCOL, LINK_LOST = 2, 8, 11
NOT_KNOWN = (LINK_LOST, "the link is not known here any more")


@pytest.fixture
def make(world):
    return Maker(world)


def early(pair, said, number, before):
    """Data as it stands on an express connection."""
    return encode(EARLY, [number, before]) + encode(DATA, [pair.near_sid, said])


def refused(link, answer):
    assert answer["Ok"] is False, answer
    link.wait_closed()
    return answer["Code"], answer["Message"]


# ---- it works ----


@pytest.mark.threads
def test_what_comes_early_is_taken_once(make, secure):
    """The kernel chooses the loop that a connection comes to."""
    pair = make(threads=4, secure=secure)
    assert pair.near.welcome["Express"] is True
    express = pair.near.express()
    last = 0
    for _ in range(20):
        said = b"early %d" % last
        number = len(pair.near.sent) + 1
        express.send(early(pair, said, number, last))
        pair.hear(said)
        pair.near.send(DATA, [pair.near_sid, said])
        last = number
    pair.hear(pair.say())
    assert pair.count("agent.registered") == 1
    assert pair.count("link.resumed") == 0


def test_several_come_as_one(make):
    pair = make()
    express = pair.near.express()
    numbers = [len(pair.near.sent) + number for number in range(1, 4)]
    express.send(b"".join(early(pair, b"%d" % number, number, number - 1 if index else 0)
                          for index, number in enumerate(numbers)))
    for number in numbers:
        pair.hear(b"%d" % number)


def test_what_is_missing_before_it_comes_first(make):
    pair = make()
    express = pair.near.express()
    first = len(pair.near.sent) + 1
    express.send(early(pair, b"second", first + 1, first))
    pair.near.send(DATA, [pair.near_sid, b"first"])
    pair.near.send(DATA, [pair.near_sid, b"second"])
    pair.hear(b"first")
    pair.hear(b"second")
    pair.check()


def test_what_is_too_far_ahead_is_left_to_the_other_connection(make):
    pair = make()
    express = pair.near.express()
    for number in (5000, 1 << 40, (1 << 64) - 1):
        express.send(early(pair, b"far ahead", number, 0))
    pair.check()


def test_a_stream_that_is_not_there(make):
    """Not yet, or not any more: what comes for it in its place is judged there."""
    pair = make()
    express = pair.near.express()
    number = len(pair.near.sent) + 1
    for sid in (999, 0, 4):
        express.send(encode(EARLY, [number, 0]) + encode(DATA, [sid, b"nobody"]))
    pair.check()


def test_it_ends_with_the_connection_beside_it(make):
    pair = make()
    express = pair.far.express()
    pair.far.resume()
    express.wait_closed()
    pair.check()
    express = pair.far.express()
    pair.far.cut()
    express.wait_closed()
    pair.far.resume()
    pair.check()


def test_a_newer_one_replaces_it(make):
    pair = make()
    first = pair.far.express()
    second = pair.far.express()
    first.wait_closed()
    pair.check()
    second.connection.close()
    pair.check()
    assert pair.count("link.lost") == 0


def test_what_was_early_is_early_on_the_next_connection_too(make):
    pair = make()
    number = len(pair.near.sent) + 2
    express = pair.near.express()
    express.send(early(pair, b"early", number, 0))
    pair.hear(b"early")
    pair.near.cut()
    wait_for_events(pair.events, "link.lost", agent="near")
    pair.near.send = lambda kind, body: pair.near.sent.append(encode(kind, body))
    pair.near.send(DATA, [pair.near_sid, b"before"])
    pair.near.send(DATA, [pair.near_sid, b"early"])
    pair.near.send(DATA, [pair.near_sid, b"behind"])
    pair.near.resume()
    pair.hear(b"before")
    pair.hear(b"behind")


# ---- who may not ----


def test_whose_link_it_is_must_be_proved(make):
    pair = make()
    changes = [{"Proof": bytes(32)}, {"Name": "near"}, {"Link": bytes(16)},
               {"Epoch": pair.far.epoch + 1}, {"Epoch": pair.far.epoch - 1}]
    for change in changes:
        assert refused(*pair.far.ask_express(**change)) == NOT_KNOWN, change
    pair.check()
    assert not [one for one in read_events(pair.events) if one["event"] == "link.lost"]


def test_a_proof_for_one_purpose_is_none_for_the_other(make):
    """A resumption that somebody turns into an express connection on its way, or back."""
    pair = make()
    assert refused(*pair.far.ask(Express=True)) == NOT_KNOWN
    assert refused(*pair.far.ask_express(Express=None)) == NOT_KNOWN
    pair.check()


def test_it_must_name_a_link(make):
    pair = make()
    code, message = refused(*pair.far.ask_express(Link=None, Proof=None, Received=None))
    assert code == PROTOCOL
    assert "express" in message


def test_there_is_none_where_links_are_not_resumed(make):
    pair = make("--resume-window", "0")
    assert not pair.far.welcome.get("Express")
    assert refused(*pair.far.ask_express()) == NOT_KNOWN


def test_a_key_that_is_revoked_meanwhile(make):
    pair = make(key=True)
    pair.far.express()
    assert make.gateway.key("revoke", "far").returncode == 0
    code, _ = refused(*pair.far.ask_express())
    assert code in (FORBIDDEN, LINK_LOST)


# ---- who breaks the rules ----

WRONG = {
    "not told of": encode(DATA, [2, b"x"]),
    "told of twice": encode(EARLY, [9, 0]) * 2,
    "told of in vain": encode(EARLY, [9, 0]),
    "an end": encode(EARLY, [9, 0]) + encode(FIN, [2]),
    "before itself": encode(EARLY, [9, 9]) + encode(DATA, [2, b"x"]),
    "half of it": encode(EARLY, [9, 0]) + encode(DATA, [2, b"xyz"])[:-1],
    "nonsense": b"\xC1\xC1",
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_message_ends_the_link(make, what):
    pair = make()
    express = pair.far.express()
    express.send(WRONG[what])
    express.wait_closed()
    pair.far.link.wait_closed()
    wait_for_events(pair.events, "agent.unregistered", agent="far")


@pytest.mark.parametrize("message", [encode(EARLY, [9, 0]), encode(EXPRESS, [1])])
def test_what_belongs_on_another_connection_ends_the_link(make, message):
    pair = make()
    pair.far.link.send(message)
    pair.far.link.wait_closed()
    wait_for_events(pair.events, "agent.unregistered", agent="far")


def test_one_that_falls_silent_in_the_middle(make):
    pair = make()
    express = pair.near.express()
    express.send_raw(b"\x82\xFE\x10")
    pair.check()
    express.connection.close()
    pair.check()
