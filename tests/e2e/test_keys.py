"""Keys: made, listed, given, changed and taken away."""

import os
import re
import signal
import sqlite3
import stat

import pytest

from culvert.peers import connect, echo_once, expect_gone
from culvert.world import culvert, environment


@pytest.fixture
def gateway(world):
    return world.gateway(is_open=False)


def refused(world, gateway, name, *options):
    """Starts an agent that must be refused; returns what it said."""
    agent = world.bare_agent(name, "--url", gateway.url(), "--name", name, *options)
    assert agent.wait() == 3
    assert "registered as" not in agent.output("out")
    return agent.output("err")


def test_a_key_lets_an_agent_in(world, gateway):
    world.agent(gateway, "agent1", key=gateway.add_key("agent1"))


def test_a_key_from_a_file_and_from_the_environment(world, gateway):
    path = world.write("key", gateway.add_key("agent1") + "\n")
    world.agent(gateway, "agent1", options=["--key-file", path])
    world.agent(gateway, "agent2", env=environment(CULVERT_KEY=gateway.add_key("agent2")))


def test_a_wrong_key_is_refused(world, gateway):
    key = gateway.add_key("agent1")
    other = gateway.add_key("agent2")
    for wrong in ("cvk_wrong", key[:-1], key + "x", other):
        said = refused(world, gateway, "agent1", "--key", wrong)
        assert "key" in said
        assert wrong not in said


def test_no_key_is_refused(world, gateway):
    gateway.add_key("agent1")
    assert "key" in refused(world, gateway, "agent1")


def test_an_unknown_name_is_told_the_same_as_a_wrong_key(world, gateway):
    gateway.add_key("agent1")
    known = refused(world, gateway, "agent1", "--key", "cvk_wrong")
    unknown = refused(world, gateway, "agent2", "--key", "cvk_wrong")
    strip = r"agent[12]|[0-9:.-]"
    assert re.sub(strip, "", known) == re.sub(strip, "", unknown)


def test_an_agent_without_a_key_says_so(world, gateway):
    gateway.add_key("agent1")
    said = refused(world, gateway, "agent1")
    assert "this agent sent no key; give it one with --key-file FILE or $CULVERT_KEY" in said
    assert "sent no key" not in refused(world, gateway, "agent1", "--key", "cvk_wrong")


def test_the_log_says_what_is_wrong_with_a_key(world, gateway):
    """The agent hears the same each time."""
    old = gateway.add_key("agent1")
    other = gateway.add_key("agent2")
    revoked = gateway.add_key("agent3")
    assert gateway.key("rotate", "agent1", "--grace", "0").returncode == 0
    assert gateway.key("revoke", "agent3").returncode == 0
    answers = set()
    for name, key, cause in [
            ("agent1", "", "the agent sent no key"),
            ("agent1", "cvk_wrong", "the key is none of this name's"),
            ("agent4", "cvk_wrong", "the store knows neither the name nor the key"),
            ("agent1", other, "the key belongs to another name"),
            ("agent1", old, "the key has expired"),
            ("agent3", revoked, "the key was revoked")]:
        since = gateway.mark()
        said = refused(world, gateway, name, *(["--key", key] if key else []))
        answers.add(re.search("the gateway refused: ([^(\n]*)", said)[1].strip())
        gateway.wait_for(f"auth.failed .*agent={name} .*reason=\".*{cause}", since=since,
                         stream="err")
    assert answers == {"the key is not valid for this name"}


def test_a_revoked_key_is_known_after_its_name_has_a_new_one(world, gateway):
    revoked = gateway.add_key("agent1")
    assert gateway.key("revoke", "agent1").returncode == 0
    new = gateway.add_key("agent1")
    refused(world, gateway, "agent1", "--key", revoked)
    gateway.wait_for("auth.failed .*the key was revoked", stream="err")
    world.agent(gateway, "agent1", key=new)


def test_only_add_and_the_gateway_make_a_store(world):
    for command in (["list"], ["revoke", "a"], ["rotate", "a"]):
        result = culvert("key", *command, "--data", world.path("typo"))
        assert result.returncode == 1
        assert f"there is no store in {world.path('typo')}" in result.stderr
        assert not os.path.exists(world.path("typo"))
    made = culvert("key", "add", "a", "--data", world.path("new"))
    assert made.returncode == 0
    assert f"Made a new store in {world.path('new')}." in made.stderr
    assert "Made" not in culvert("key", "add", "b", "--data", world.path("new")).stderr


def test_the_gateway_says_how_many_keys_its_store_has(world):
    first = world.gateway(is_open=False)
    first.wait_for(r"INFO .*culvert \d\S+ listens on 127\.0\.0\.1:\d+; TLS: off; policy: "
                   rf"--auth-grant; keys: 0 in {re.escape(first.data)}, a new store", stream="err")
    first.add_key("agent1")
    first.stop()
    rules = world.write("rules.acl", "allow * -> * * *\n")
    second = world.gateway("--acl", rules, data=first.data, is_open=False, secure=True)
    second.wait_for(rf"TLS: \S+\.pem; policy: --auth-grant --acl {re.escape(rules)}; keys: 1 in "
                    rf"{re.escape(first.data)}$", stream="err")
    world.gateway().wait_for(r"keys: none needed \(--open\)", stream="err")


def test_a_key_is_written_to_a_file_of_its_own(world, gateway):
    path = world.path("agent1.key")
    made = gateway.key("add", "agent1", "--out", path)
    assert made.returncode == 0
    assert made.stdout == ""
    assert f"--key-file {path}" in made.stderr
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    world.agent(gateway, "agent1", options=["--key-file", path])
    with open(path, encoding="ascii") as file:
        key = file.read()
    for command in (["add", "agent2"], ["rotate", "agent1"]):
        again = gateway.key(*command, "--out", path)
        assert again.returncode == 1
        assert f"{path} is there already and is not overwritten" in again.stderr
        with open(path, encoding="ascii") as file:
            assert file.read() == key
    assert "agent2" not in gateway.key("list").stdout
    missing = gateway.key("add", "agent2", "--out", world.path("no/such"))
    assert missing.returncode == 1
    assert world.path("no/such") in missing.stderr
    assert "agent2" not in gateway.key("list").stdout
    rotated = gateway.key("rotate", "agent1", "--out", world.path("new.key"), "--grace", "24h")
    assert rotated.returncode == 0
    assert "The old key works for 24h more." in rotated.stderr


def test_an_open_gateway_needs_no_key(world):
    world.agent(world.gateway(is_open=True), "agent1")


def test_a_key_is_printed_once(gateway):
    key = gateway.add_key("agent1")
    listed = gateway.key("list")
    assert listed.returncode == 0
    assert "agent1" in listed.stdout
    assert key not in listed.stdout + listed.stderr
    again = gateway.key("add", "agent1")
    assert again.returncode == 1
    assert again.stdout == ""
    assert "agent1" in again.stderr


@pytest.mark.parametrize("name", ["a b", "", "gateway", "x" * 129, "ä", "a/b"])
def test_a_name_that_cannot_be(gateway, name):
    result = gateway.key("add", name)
    assert result.returncode in (1, 2)
    assert result.stdout == ""
    assert gateway.key("list").stdout.find("cvk_") == -1


@pytest.mark.parametrize("command", ["revoke", "rotate"])
def test_a_name_without_a_key(gateway, command):
    result = gateway.key(command, "nobody")
    assert result.returncode == 1
    assert "nobody" in result.stderr


def test_the_store_holds_no_key(world, gateway):
    """Nor does any log say one."""
    keys = [gateway.add_key(f"agent{number}") for number in range(3)]
    keys.append(re.search(r"cvk_\S+", gateway.key("rotate", "agent0").stdout)[0])
    agent = world.agent(gateway, "agent1", key=keys[1])
    files = [os.path.join(folder, name) for folder, _, names in os.walk(gateway.data)
             for name in names]
    assert files
    for path in files:
        with open(path, "rb") as file:
            content = file.read()
        for key in keys:
            assert key[4:24].encode() not in content, path
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(os.stat(gateway.data).st_mode) & 0o077 == 0
    for key in keys:
        assert key[4:24] not in gateway.output() + agent.output()


def test_the_default_directory(world):
    env = environment(XDG_STATE_HOME=world.path("state"))
    assert culvert("key", "add", "agent1", env=env).returncode == 0
    assert os.path.isdir(world.path("state/culvert"))
    assert "agent1" in culvert("key", "list", env=env).stdout


def test_revoking_cuts_the_link_and_its_sessions(world, gateway):
    server = world.server()
    keys = {name: gateway.add_key(name) for name in ("far", "near", "other")}
    echo_server = world.echo_server()
    far = world.agent(gateway, "far", key=keys["far"])
    world.agent(gateway, "other", key=keys["other"])
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{server.port}",
                       f"0:other:127.0.0.1:{echo_server.port}", key=keys["near"])
    tunnel_client = world.keep(connect(near.port()))
    tunnel_client.sendall(b"x")
    target = server.accept()
    assert target.recv(1) == b"x"
    since = far.mark()
    assert gateway.key("revoke", "far").returncode == 0
    expect_gone(tunnel_client)
    expect_gone(target)
    far.wait_for("key|revoked", since=since)
    echo_once(near.port(1))
    assert near.is_running()
    assert "far" not in gateway.key("list").stdout
    refused(world, gateway, "far", "--key", keys["far"])


def test_a_new_key_after_revoking(world, gateway):
    old = gateway.add_key("agent1")
    assert gateway.key("revoke", "agent1").returncode == 0
    new = gateway.add_key("agent1")
    assert new != old
    refused(world, gateway, "agent1", "--key", old)
    world.agent(gateway, "agent1", key=new)


def test_rotating_lets_the_old_key_live_for_its_grace(world, gateway):
    old = gateway.add_key("agent1")
    result = gateway.key("rotate", "agent1", "--grace", "1h")
    assert result.returncode == 0, result.stderr
    new = re.search(r"cvk_\S+", result.stdout)[0]
    assert new != old
    for key in (old, new):
        world.agent(gateway, "agent1", key=key).stop()


def test_the_old_key_and_its_link_end_with_its_grace(world, gateway):
    old = gateway.add_key("agent1")
    agent = world.agent(gateway, "agent1", key=old)
    since = agent.mark()
    result = gateway.key("rotate", "agent1", "--grace", "1s")
    new = re.search(r"cvk_\S+", result.stdout)[0]
    agent.wait_for("lost the link.*expired", since=since)
    agent.wait_for("refused.*key", since=since)
    world.agent(gateway, "agent1", key=new)
    refused(world, gateway, "agent1", "--key", old)


def test_a_key_that_is_revoked_while_its_name_is_asked_for(world):
    """A second agent waits until a frozen first has been given up; its key must still be good then."""
    gateway = world.gateway("--log-level", "debug", is_open=False)
    key = gateway.add_key("agent1")
    world.agent(gateway, "agent1", key=key).signal(signal.SIGSTOP)
    second = world.bare_agent("agent1-again", "--url", gateway.url(), "--name", "agent1", "--key",
                              key)
    gateway.wait_for("the holder of its name is asked")
    assert gateway.key("revoke", "agent1").returncode == 0
    assert second.wait() == 3
    assert "registered as" not in second.output("out")


def test_an_agent_whose_key_cannot_be_checked_again_is_not_kept(world, gateway):
    """The store breaks, which nobody may use to stay on."""
    agent = world.agent(gateway, "agent1", key=gateway.add_key("agent1"))
    since = agent.mark()
    with sqlite3.connect(os.path.join(gateway.data, "culvert.db")) as store:
        store.execute("ALTER TABLE keys RENAME TO nobody_knows")
    agent.wait_for("lost the link.*could not be checked again", since=since)
    gateway.wait_for("cannot check a key: ")
    gateway.wait_for("agent.unregistered.*could not be checked again")
