"""A gateway with an access list: who gets through, who does not and is told why."""

import os
import signal

import pytest

from culvert.peers import connect, echo_once, expect_session_reset
from culvert.world import culvert, environment


class Walls:
    """A gateway with rules, an echo server, and agents that are started when they are named."""

    def __init__(self, world, rules, *options):
        self.world = world
        self.server = world.echo_server()
        self.path = world.write("policy.acl", rules.format(port=self.server.port))
        self.gateway = world.gateway("--acl", self.path, *options, policy=None)
        self.running = {}

    def agent(self, name, *rules):
        self.running[name] = self.world.agent(self.gateway, name, *rules)
        return self.running[name]

    def near(self, name, *targets):
        """An agent with rules AGENT:HOST, to the server's port."""
        return self.agent(name, *(f"0:{target}:{self.server.port}" for target in targets))

    def write(self, rules):
        """Puts the file in the old one's place."""
        path = self.world.write("new.acl", rules.format(port=self.server.port))
        os.rename(path, self.path)

    def refused(self, near, index, reason):
        """A session that the rules refuse; all three know why."""
        since = near.mark()
        accepted = self.server.accepted
        expect_session_reset(near.port(index))
        near.wait_for(reason, since=since, stream="err")
        self.gateway.wait_for(f"session.refused.*{near.agent_name}.*{reason}", stream="err")
        assert self.server.accepted == accepted


def test_names_and_groups(world):
    walls = Walls(world, """\
@ops = alice-*, bob
allow @ops -> db-? 127.0.0.0/8 *
deny  bob  -> *    *           *
""")
    for name in ("db-1", "db-12"):
        walls.agent(name)
    targets = ("db-1:127.0.0.1", "db-12:127.0.0.1")
    alice = walls.near("alice-2", *targets)
    bob = walls.near("bob", *targets)
    eve = walls.near("eve", *targets)
    for agent in (alice, bob):
        echo_once(agent.port(0))
    walls.refused(alice, 1, r"policy\.acl: no rule matches")
    walls.refused(bob, 1, r"policy\.acl:3 refuses it")
    walls.refused(eve, 0, r"policy\.acl: no rule matches")


def test_hosts_and_ports(world):
    walls = Walls(world, """\
allow near -> far LocalHost {port}
allow near -> far 127.0.0.2 1-{port}
allow near -> far 127.0.0.1 1
""")
    walls.agent("far")
    near = walls.near("near", "far:localhost", "far:127.0.0.2", "far:127.0.0.1", "far:[::1]")
    echo_once(near.port(0))
    # Allowed here, and refused by the whitelist or by nobody listening there, but not by the rules.
    expect_session_reset(near.port(1))
    assert walls.gateway.count("no rule matches") == 0
    walls.refused(near, 2, "no rule matches")
    walls.refused(near, 3, "no rule matches")


def test_both_the_rules_and_the_whitelist_must_agree(world):
    walls = Walls(world, "allow * -> far * *\n")
    far = world.agent(walls.gateway, "far", options=["--allow", "127.0.0.1:1"])
    near = walls.near("near", "far:127.0.0.1")
    expect_session_reset(near.port())
    far.wait_for("the dialling agent's allowlist does not allow this target", stream="err")
    assert walls.server.accepted == 0


def test_keys(world):
    walls = Walls(world, """\
allow near -> far 127.0.0.1 {port} key s3cret-Key1
""")
    port = walls.server.port
    far = walls.agent("far")
    near = walls.agent("near", f"0:s3cret-Key1@far:127.0.0.1:{port}", f"0:far:127.0.0.1:{port}",
                       f"0:s3cret-Key2@far:127.0.0.1:{port}")
    echo_once(near.port(0))
    walls.refused(near, 1, "no rule matches")
    walls.refused(near, 2, "no rule matches")
    for process in (walls.gateway, near, far):
        process.stop()
        assert "s3cret" not in process.output()


def test_all_policies_must_allow(world):
    rules = "allow * -> * * *\n"
    path = world.write("policy.acl", rules)
    server = world.echo_server()
    for policy, is_allowed in (("--auth-grant", True), ("--auth-deny", False)):
        gateway = world.gateway("--acl", path, policy=policy)
        world.agent(gateway, "far")
        near = world.agent(gateway, "near", f"0:far:127.0.0.1:{server.port}")
        if is_allowed:
            echo_once(near.port())
        else:
            expect_session_reset(near.port())
            near.wait_for("the gateway denies every session", stream="err")


def test_granting_everything_does_not_overrule_the_rules(world):
    path = world.write("policy.acl", "deny * -> * * *\n")
    gateway = world.gateway("--acl", path, policy="--auth-grant")
    world.agent(gateway, "far")
    near = world.agent(gateway, "near", "0:far:127.0.0.1:1")
    expect_session_reset(near.port())
    near.wait_for(r"policy\.acl:1 refuses it", stream="err")


@pytest.mark.threads
def test_agents_on_all_of_the_gateways_loops(world):
    walls = Walls(world, "allow near-* -> far-0 * *\n", "--threads", "4")
    for number in range(4):
        walls.agent(f"far-{number}")
    for number in range(4):
        near = walls.near(f"near-{number}", "far-0:127.0.0.1", f"far-{max(number, 1)}:127.0.0.1")
        echo_once(near.port(0))
        walls.refused(near, 1, "no rule matches")


def change(walls, how, rules):
    """Changes the rules in one of the ways that are noticed."""
    if how == "rename":
        walls.write(rules)
        return
    walls.world.write("policy.acl", rules.format(port=walls.server.port))
    if how == "SIGHUP":
        walls.gateway.signal(signal.SIGHUP)


@pytest.mark.parametrize("how", ["rename", "in place", "SIGHUP"])
def test_a_change_is_noticed(world, how):
    walls = Walls(world, "allow near -> far * *\n")
    walls.agent("far")
    near = walls.near("near", "far:127.0.0.1")
    echo_once(near.port())
    opened = world.keep(connect(near.port()))
    opened.sendall(b"x")
    assert opened.recv(1) == b"x"

    since = walls.gateway.mark()
    change(walls, how, "deny near -> far * *\n")
    walls.gateway.wait_for(r"policy\.reloaded.*policy\.acl", since=since, stream="err")
    walls.refused(near, 0, r"policy\.acl:1 refuses it")
    # What is open stays open: the question is asked before a session.
    opened.sendall(b"y")
    assert opened.recv(1) == b"y"

    since = walls.gateway.mark()
    change(walls, how, "allow near -> far * *\n")
    walls.gateway.wait_for(r"policy\.reloaded.*policy\.acl", since=since, stream="err")
    echo_once(near.port())


@pytest.mark.parametrize("how", ["rename", "in place", "SIGHUP"])
def test_an_error_keeps_the_old_rules(world, how):
    walls = Walls(world, "allow near -> far * *\n")
    walls.agent("far")
    near = walls.near("near", "far:127.0.0.1", "other:127.0.0.1")
    since = walls.gateway.mark()
    change(walls, how, "deny near -> far * *\nallow near -> far * 80 key s3cret s3cret\n")
    walls.gateway.wait_for(r"policy\.acl:2: behind the key nothing may stand", since=since,
                           stream="err")
    echo_once(near.port())
    walls.refused(near, 1, "no rule matches")
    assert "s3cret" not in walls.gateway.output()

    since = walls.gateway.mark()
    change(walls, how, "deny near -> far * *\n")
    walls.gateway.wait_for(r"policy\.reloaded.*policy\.acl", since=since, stream="err")
    walls.refused(near, 0, r"policy\.acl:1 refuses it")


def test_a_file_that_vanished_keeps_the_old_rules(world):
    walls = Walls(world, "allow near -> far * *\n")
    walls.agent("far")
    near = walls.near("near", "far:127.0.0.1")
    os.unlink(walls.path)
    walls.gateway.wait_for(r"cannot read .*policy\.acl: No such file", stream="err")
    echo_once(near.port())
    since = walls.gateway.mark()
    walls.gateway.signal(signal.SIGHUP)
    walls.gateway.wait_for(r"cannot read .*policy\.acl: No such file", since=since, stream="err")
    echo_once(near.port())


@pytest.mark.parametrize("rules,what", [
    (None, "No such file"),
    ("allow near -> far * http\n", "policy.acl:1: PORTS"),
])
def test_a_file_that_is_wrong_stops_the_start(world, rules, what):
    path = world.write("policy.acl", rules) if rules else world.path("policy.acl")
    result = culvert("gateway", "--listen", "127.0.0.1:0", "--acl", path, "--open", "--data",
                     world.path("data"), env=environment())
    assert result.returncode == 1
    assert "listening" not in result.stdout
    assert what in result.stderr


def test_an_empty_list_allows_nothing(world):
    walls = Walls(world, "# nobody yet\n")
    walls.agent("far")
    walls.refused(walls.near("near", "far:127.0.0.1"), 0, "no rule matches")
