"""The agent's local ports."""

import os
import shutil

import pytest

from culvert.peers import connect, echo_once, free_port, has_ipv6
from culvert.process import run
from culvert.world import BINARY, culvert, environment


@pytest.fixture
def way(world):
    """A gateway with agent2 and an echo server's port behind it."""
    gateway = world.gateway()
    world.agent(gateway, "agent2")
    return gateway, world.echo_server().port


def test_a_port_in_use_is_named_and_the_other_rules_are_kept(world, way):
    gateway, port = way
    taken = world.server().port
    agent = world.agent(gateway, "agent1", f"{taken}:agent2:127.0.0.1:{port}",
                        f"0:agent2:127.0.0.1:{port}")
    agent.wait_for(rf"\b{taken}\b.*in use", stream="err")
    assert [forward[1] for forward in agent.forwards()] != [taken]
    assert len(agent.forwards()) == 1
    echo_once(agent.port())


def test_no_port_that_could_be_opened(world, way):
    gateway, port = way
    taken = [world.server().port for _ in range(2)]
    agent = world.agent(gateway, "agent1", *(f"{one}:agent2:127.0.0.1:{port}" for one in taken),
                        wait=False)
    assert agent.wait() == 4
    for one in taken:
        agent.wait_for(rf"\b{one}\b.*in use", stream="err")


def test_the_same_port_twice(world, way):
    gateway, port = way
    local = free_port()
    agent = world.agent(gateway, "agent1", *[f"{local}:agent2:127.0.0.1:{port}"] * 2)
    agent.wait_for(rf"\b{local}\b.*in use", stream="err")
    echo_once(agent.port())


def test_a_port_is_loopback_on_both_families(world, way):
    gateway, port = way
    agent = world.agent(gateway, "agent1", f"{free_port()}:agent2:127.0.0.1:{port}",
                        f"0:agent2:127.0.0.1:{port}")
    for address, local, target in agent.forwards():
        assert address == "127.0.0.1"
        assert target == f"agent2:127.0.0.1:{port}"
        echo_once(local)
        if has_ipv6():
            echo_once(local, address="::1")


def test_a_port_is_loopback_only(world, way):
    gateway, port = way
    agent = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{port}")
    with pytest.raises(ConnectionRefusedError):
        connect(agent.port(), "127.0.0.2")


@pytest.mark.parametrize("bind, printed, reaches, refuses", [
    ("127.0.0.2", "127.0.0.2", ["127.0.0.2"], ["127.0.0.1", "::1"]),
    ("localhost", None, ["127.0.0.1"], ["127.0.0.2"]),
    ("[::1]", "[::1]", ["::1"], ["127.0.0.1"]),
    ("0.0.0.0", "0.0.0.0", ["127.0.0.1", "127.0.0.2"], ["::1"]),
    ("*", None, ["127.0.0.1", "127.0.0.2", "::1"], []),
])
def test_bind_addresses(world, way, bind, printed, reaches, refuses):
    gateway, port = way
    if not has_ipv6() and "::1" in reaches:
        pytest.skip("no IPv6 here")
    agent = world.agent(gateway, "agent1", f"{bind}:0:agent2:127.0.0.1:{port}")
    address, local, _ = agent.forwards()[0]
    if printed:
        assert address == printed
    for one in reaches:
        echo_once(local, address=one)
    for one in refuses:
        with pytest.raises(OSError):
            connect(local, one, timeout=2)


def test_an_address_that_is_not_ours(world, way):
    gateway, port = way
    agent = world.agent(gateway, "agent1", f"203.0.113.9:0:agent2:127.0.0.1:{port}", wait=False)
    assert agent.wait() == 4
    assert "203.0.113.9" in agent.output("err")


def test_a_bind_name_without_an_address(world, way):
    gateway, port = way
    agent = world.agent(gateway, "agent1", f"no-such-host.invalid:0:agent2:127.0.0.1:{port}",
                        wait=False)
    assert agent.wait() == 4
    assert "no-such-host.invalid" in agent.output("err")


def test_a_port_that_needs_a_right(world, way):
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        if int(file.read()) <= 80:
            pytest.skip("port 80 is for everybody here")
    gateway, port = way
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"] if os.geteuid() == 0 else []
    agent = world.agent(gateway, "agent1", f"80:agent2:127.0.0.1:{port}", wait=False, wrapper=drop)
    assert agent.wait() == 4
    agent.wait_for(r"\b80\b.*permission denied", stream="err")


def test_a_target_in_ipv6(world, way):
    gateway, _ = way
    server = world.echo_server(address="::1")
    agent = world.agent(gateway, "agent1", f"0:agent2:[::1]:{server.port}")
    assert agent.forwards()[0][2] == f"agent2:[::1]:{server.port}"
    echo_once(agent.port())


def test_a_rule_with_a_connection_key(world, way):
    """The key is for policies; it is never printed."""
    gateway, port = way
    agent = world.agent(gateway, "agent1", f"0:se:cr@et@agent2:127.0.0.1:{port}")
    echo_once(agent.port())
    assert "cr@et" not in agent.output() + gateway.output()


def test_ports_are_bound_before_the_gateway_is_there(world):
    agent = world.bare_agent("agent1", "--url", f"ws://127.0.0.1:{free_port()}", "--name",
                             "agent1", "0:agent2:127.0.0.1:22")
    assert agent.port() > 0


def test_hundreds_of_rules(world, way):
    gateway, port = way
    agent = world.agent(gateway, "agent1", *[f"0:agent2:127.0.0.1:{port}"] * 200)
    assert len({local for _, local, _ in agent.forwards()}) == 200
    echo_once(agent.port(199))


def expect_idle(client, agent, before):
    """For two seconds nothing happens and nearly no processor time is used."""
    client.settimeout(2.0)
    with pytest.raises(TimeoutError):
        client.recv(1)
    assert agent.cpu_seconds() - before < 0.5


def test_no_descriptors_left_in_the_agent(world, way):
    """Open sessions go on, nothing spins, and it recovers."""
    gateway, port = way
    agent = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{port}")
    client = world.keep(connect(agent.port()))
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    agent.limit_descriptors(agent.descriptors() + 5)
    flood = [world.keep(connect(agent.port())) for _ in range(40)]
    before = agent.cpu_seconds()
    for _ in range(20):
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    expect_idle(client, agent, before)
    for one in flood:
        one.close()
    agent.limit_descriptors(1000)
    echo_once(agent.port())


# ---- the gateway's ----

def bind_error(world, listen, *wrapper):
    """What a gateway says that cannot listen there."""
    words = ["gateway", "--listen", listen, "--auth-grant", "--open", "--data", world.path("data")]
    result = run([*wrapper, BINARY, *words], env=environment()) if wrapper else culvert(*words)
    assert result.returncode == 4, result
    assert "listening" not in result.stdout
    return result.stderr


def test_a_gateway_whose_port_is_in_use(world):
    taken = world.server().port
    said = bind_error(world, f"127.0.0.1:{taken}")
    assert f"cannot listen on 127.0.0.1:{taken}: Address already in use" in said
    assert "another process listens there" in said


def test_a_gateway_whose_address_is_not_this_machines(world):
    said = bind_error(world, "192.0.2.1:8080")
    assert "cannot listen on 192.0.2.1:8080: Cannot assign requested address" in said
    assert "no interface of this machine has that address" in said


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_a_gateway_whose_ipv6_address_is_not_this_machines(world):
    assert "cannot listen on [2001:db8::1]:8080: " in bind_error(world, "[2001:db8::1]:8080")


def test_a_gateway_whose_name_has_no_address(world):
    said = bind_error(world, "no-such-host.invalid:8080")
    assert "cannot listen on no-such-host.invalid:8080: the host name has no address" in said


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None,
                    reason="needs root and setpriv")
def test_a_gateway_that_may_not_have_its_port(world):
    said = bind_error(world, "127.0.0.1:81", "unshare", "--net", "setpriv", "--bounding-set",
                      "-net_bind_service", "--inh-caps", "-net_bind_service")
    assert "cannot listen on 127.0.0.1:81: Permission denied" in said
    assert "CAP_NET_BIND_SERVICE" in said
