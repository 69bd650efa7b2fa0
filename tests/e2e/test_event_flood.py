"""The audit trail cannot be drowned: refusals that one agent or one address causes are summed up,
and what others do is told all the same."""

import contextlib
import time

import pytest

from culvert.events import read_events, wait_for_events
from culvert.peers import receive_exactly
from culvert.process import eventually
from culvert.wire import ACK, OPEN, Link, encode

ROUNDS = 12
OPENS = 1000  # in a round
RULES = "allow agent1 -> agent2 127.0.0.1 *\n"


def stands_for(events):
    return sum(event.get("repeated", 1) for event in events)


def of_type(file, name, **fields):
    return [event for event in read_events(file, is_growing=True) if event["event"] == name
            and all(event.get(field) == value for field, value in fields.items())]


def wait_for_sum(file, name, count, **fields):
    """The events of this type once they stand for so many."""
    def look():
        events = of_type(file, name, **fields)
        return events if stands_for(events) >= count else None
    return eventually(look, message=f"{name} with {fields} does not add up to {count}")


def most_events_since(begin):
    """Five that are shown one by one and a sum, for each second that has begun."""
    return 6 * (int(time.monotonic() - begin) + 2)


@pytest.fixture
def file(world):
    return world.path("events.json")


def test_a_flood_of_refused_sessions(world, file):
    """Every session of the innocent agent is told, each refusal of the other one is counted."""
    rules = world.write("rules.acl", RULES)
    tunnel = world.tunnel(world.echo_server().port, threads=1, policy=None, options=(
        "--acl", rules, "--events", file, "--log-level", "warning"))
    rogue = world.keep(Link.connect(tunnel.gateway))
    rogue.shake_hands("rogue")
    begin = time.monotonic()
    host = ".".join(("a" * 60, "b" * 60, "c" * 60))
    for number in range(ROUNDS):
        sids = [1 + 2 * (OPENS * number + n) for n in range(OPENS)]
        rogue.send(b"".join(encode(OPEN, [sid, "tcp", "agent2", host, 9, "", {}]) for sid in sids))
        with tunnel.connect() as session:
            session.sendall(b"x")
            assert receive_exactly(session, 1) == b"x"
        rogue.wait_for(ACK, sids[-1])
    rogue.send(encode(OPEN, [1 + 2 * OPENS * ROUNDS, "tcp", "", host, 9, "", {}]))  # is malformed
    refused = wait_for_sum(file, "session.refused", OPENS * ROUNDS + 1, source="rogue")
    assert stands_for(refused) == OPENS * ROUNDS + 1
    assert len(refused) <= most_events_since(begin)
    assert max(event.get("repeated", 1) for event in refused) > 1
    assert all(event["code"] and event["reason"] for event in refused)
    for name in ("session.opened", "session.closed"):
        assert len(wait_for_events(file, name, ROUNDS, source="agent1")) == ROUNDS
    assert not of_type(file, "events.dropped")
    numbers = [event["seq"] for event in read_events(file)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_flood_of_refused_logins(world, file):
    """Of one address; agents that may log in from it are told one by one."""
    gateway = world.gateway("--events", file, is_open=False)
    begin = time.monotonic()
    keys = [gateway.add_key(f"honest{number}") for number in range(3)]
    for number, key in enumerate(keys):
        for stranger in range(20):
            with contextlib.closing(Link.connect(gateway)) as link:
                assert not link.shake_hands(f"stranger{stranger}")["Ok"]
        honest = world.keep(Link.connect(gateway))
        assert honest.shake_hands(f"honest{number}", key)["Ok"]
    failed = wait_for_sum(file, "auth.failed", 60)
    assert stands_for(failed) == 60
    assert len(failed) <= most_events_since(begin)
    registered = wait_for_events(file, "agent.registered", 3)
    assert [event["agent"] for event in registered] == ["honest0", "honest1", "honest2"]
