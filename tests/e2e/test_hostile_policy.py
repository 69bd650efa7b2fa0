"""Agents whose sessions are refused, as many as they can ask for: what that costs others."""

import statistics
import threading
import time

from culvert.peers import receive_exactly
from culvert.wire import ACK, OPEN, Link, encode

RULES = 100_000


def echo_times(session, count):
    """Seconds that each of so many echoes takes, sorted."""
    times = []
    for _ in range(count):
        begin = time.monotonic()
        session.sendall(b"x")
        assert receive_exactly(session, 1) == b"x"
        times.append(time.monotonic() - begin)
    return sorted(times)


def test_a_burst_against_many_patterns(world):
    """1,500 refused opens at once, against 100,000 rules with patterns in all places: the session
    of another agent on the same loop stands still for no longer than a moment."""
    rules = "".join(f"allow *-team{n}-* -> *site{n}* *.x{n}.intranet 443\n" for n in range(RULES))
    path = world.write("rules.acl", rules + "allow agent1 -> agent2 127.0.0.1 *\n")
    tunnel = world.tunnel(world.echo_server().port, threads=1, policy=None,
                          options=("--acl", path, "--log-level", "error"))
    session = tunnel.connect()
    echo_times(session, 5)
    rogue = world.keep(Link.connect(tunnel.gateway))
    rogue.shake_hands("evil" + "-team" * 20)
    host = ("a" * 60 + ".") * 3 + "b" * 60
    before = tunnel.gateway.cpu_seconds()
    rogue.send(b"".join(encode(OPEN, [1 + 2 * n, "tcp", "site" * 30, host, 443, "", {}])
                        for n in range(1500)))
    echo_times(session, 20)
    rogue.wait_for(ACK, 2999)
    # 1,500 questions take 40 s of a processor when each rule is looked at.
    assert tunnel.gateway.cpu_seconds() - before < 5.0
    tunnel.check()


def test_refused_opens_have_a_rate(world):
    """Nearly a thousand a second: most are refused without asking; others echo as before."""
    path = world.write("rules.acl", "allow agent1 -> agent2 127.0.0.1 *\n")
    tunnel = world.tunnel(world.echo_server().port, threads=1, policy=None,
                          options=("--acl", path, "--log-level", "error"))
    session = tunnel.connect()
    alone = echo_times(session, 300)
    rogue = world.keep(Link.connect(tunnel.gateway))
    rogue.shake_hands("rogue")
    stop = threading.Event()
    codes = []

    def ask():
        sid = 1
        while not stop.is_set():
            for _ in range(10):
                rogue.open(sid, "agent2", 9)
                sid += 2
            for _ in range(10):
                codes.append(rogue.wait_for(ACK)[2])
            stop.wait(0.01)
    attacker = threading.Thread(target=ask)
    attacker.start()
    try:
        beside = []
        while len(codes) < 2000:
            beside += echo_times(session, 100)
    finally:
        stop.set()
        attacker.join()
    limited = sum(code != codes[0] for code in codes)
    assert limited > len(codes) // 4, (codes[0], limited, len(codes))
    assert statistics.median(beside) <= 1.5 * statistics.median(alone) + 0.002
    tunnel.check()


def test_no_spelling_of_loopback_passes_a_denial(world):
    """All addresses that reach loopback, or a denied network, are denied with it; others are not."""
    path = world.write("rules.acl", "deny * -> * 127.0.0.0/8 *\ndeny * -> * 10.0.0.0/8 *\n"
                                    "allow * -> * * *\n")
    gateway = world.gateway("--acl", path, policy=None)
    link = world.keep(Link.connect(gateway))
    link.shake_hands("rogue")
    hosts = {"127.0.0.1": 1, "0.0.0.0": 1, "::": 1, "::1": 1, "::ffff:0.0.0.0": 1,
             "::127.0.0.1": 1, "64:ff9b::7f00:1": 1, "64:ff9b::a00:1": 2, "::10.0.0.1": 2,
             "192.0.2.1": None, "2001:db8::1": None, "db.internal": None}
    for number, (host, line) in enumerate(hosts.items()):
        sid = 1 + 2 * number
        link.open(sid, "nobody", 22, host=host)
        answer = link.wait_for(ACK, sid)
        expected = f"rules.acl:{line} refuses it" if line else "no agent with this name"
        assert expected in str(answer), (host, answer)
