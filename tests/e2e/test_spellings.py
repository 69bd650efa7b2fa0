"""Every spelling of a host is the same host: to the access list, to a script, and to the agent that
must not dial its own gateway."""

import pytest

from culvert.peers import echo_once, expect_session_reset
from culvert.wire import ACK, Link

LOOPBACK = ["127.0.0.1", "0.0.0.0", "::", "::1", "::ffff:0.0.0.0", "::ffff:127.0.0.1",
            "::127.0.0.1", "64:ff9b::7f00:1"]
NAMES = ["localhost", "LOCALHOST", "LocalHost."]
NUMBERS = ["127.1", "0x7f.1", "2130706433", "[::1]"]

DIALECTS = {"native": (), "hubble": ("--dialect", "hubble")}


@pytest.fixture(params=DIALECTS)
def dialect(request):
    """Options of an agent."""
    return DIALECTS[request.param]


def refusals(link, hosts, port):
    """[sid, ?, code, reason] of an open of each host at agent `far`."""
    answers = {}
    for number, host in enumerate(hosts):
        link.open(2 * number + 3, "far", port, host=host)
        answers[host] = link.wait_for(ACK, 2 * number + 3)
        assert answers[host][2] != 0, (host, answers[host])
    return answers


def test_the_access_list_denies_all_spellings(world, dialect):
    denied = world.echo_server()
    allowed = world.echo_server()
    rules = world.write("policy.acl", f"allow * -> far localhost {allowed.port}\n"
                                      "deny * -> * 127.0.0.0/8 *\n"
                                      "deny * -> * localhost *\n"
                                      "allow * -> * * *\n")
    gateway = world.gateway("--acl", rules, "--legacy", "hubble", policy=None)
    world.agent(gateway, "far", options=("--allow", "*"))
    hosts = [f"[{host}]" if ":" in host else host for host in LOOPBACK] + NAMES
    near = world.agent(gateway, "near", *(f"0:far:{host}:{denied.port}" for host in hosts),
                       *(f"0:far:{name}:{allowed.port}" for name in NAMES), options=dialect)
    for index in range(len(hosts)):
        expect_session_reset(near.port(index))
    for index in range(len(NAMES)):
        echo_once(near.port(len(hosts) + index))
    assert denied.accepted == 0
    link = world.keep(Link.connect(gateway))
    link.shake_hands("rogue")
    for host, answer in refusals(link, LOOPBACK + NAMES + NUMBERS, denied.port).items():
        expected = ("neither a name nor an address" if host in NUMBERS else
                    f"policy.acl:{3 if host in NAMES else 2} refuses it")
        assert expected in str(answer), (host, answer)


def test_no_agent_dials_its_own_gateway(world, dialect):
    server = world.echo_server()
    gateway = world.gateway("--legacy", "hubble")
    world.agent(gateway, "far", options=("--allow", "*", *dialect))
    link = world.keep(Link.connect(gateway))
    link.shake_hands("rogue")
    link.open(1, "far", server.port)
    assert link.wait_for(ACK, 1)[2] == 0
    hosts = LOOPBACK + NAMES + NUMBERS[:3]
    for host, answer in refusals(link, hosts, gateway.port).items():
        if not dialect:
            assert answer[2] == 18, (host, answer)


def test_a_script_sees_one_spelling(world, dialect):
    script = world.write("policy.lua", 'function connect(request)\n'
                                       '    return false, "asked for " .. request:ip() .. "."\n'
                                       'end\n')
    gateway = world.gateway("--auth-lua", script, "--legacy", "hubble", policy=None)
    link = world.keep(Link.connect(gateway))
    link.shake_hands("rogue")
    for host, answer in refusals(link, LOOPBACK + NAMES + NUMBERS, 80).items():
        expected = ("neither a name nor an address" if host in NUMBERS else
                    "asked for localhost." if host in NAMES else "asked for 127.0.0.1.")
        assert expected in str(answer), (host, answer)
    near = world.agent(gateway, "near", "0:far:[::ffff:10.1.2.3]:80", options=dialect)
    expect_session_reset(near.port(0))
    gateway.wait_for(r"session\.refused.*near.*asked for 10\.1\.2\.3\.", stream="err")
