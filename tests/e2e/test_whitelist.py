"""What an agent dials for others, and what it does not."""

import json
import os
import shutil
import socket
import time

import pytest

from culvert.peers import (connect, echo_once, expect_session_reset, free_port, has_ipv6,
                           pass_on)
from culvert.process import PATIENCE, eventually, run
from culvert.task import Task


OUTER = ("198.51.100.5", "198.51.100.6")  # for documentation (RFC 5737): nobody has them


def own_address():
    """An address of this machine that is not loopback; None without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
        return None if address.startswith("127.") else address


def loopback_name():
    """A name of loopback in /etc/hosts other than localhost; None if there is none."""
    with open("/etc/hosts", encoding="utf-8") as hosts:
        for line in hosts:
            words = line.partition("#")[0].split()
            for name in words[1:]:
                if words[0] in ("127.0.0.1", "::1") and "localhost" not in name:
                    return name
    return None


def tunnel_to(world, target, *allow, **options):
    """A tunnel whose far agent was given these --allow."""
    words = [word for rule in allow for word in ("--allow", rule)]
    return world.tunnel(target, far_options=words, **options)


def assert_forbidden(tunnel, index=0):
    expect_session_reset(tunnel.port(index))
    tunnel.far.wait_for("refused .* for agent1: the (dialling agent|target)", stream="err")


def test_the_asking_side_learns_whether_policy_or_the_allowlist_refused(world):
    """By a code each, and in words; the words say when the default is the cause."""
    events = world.path("events")
    for allow, cause in ((["--allow", "192.0.2.1:81"], "allowlist does not allow this target"),
                         ([], "has no --allow and dials loopback targets only")):
        tunnel = world.tunnel("192.0.2.1:80", options=["--events", events], far_options=allow)
        expect_session_reset(tunnel.port(), 3.0)
        tunnel.near.wait_for(f"no session to agent2:192.0.2.1:80: .*{cause}", stream="err")
        tunnel.far.wait_for(f"refused 192.0.2.1:80 for agent1: .*{cause}", stream="err")
        tunnel.gateway.wait_for(f"session.refused .*{cause}", stream="err")
    tunnel = world.tunnel("127.0.0.1:80", options=["--events", events], policy="--auth-deny")
    expect_session_reset(tunnel.port(), 3.0)
    tunnel.near.wait_for("no session to .*: the gateway denies every session", stream="err")
    eventually(lambda: codes(events) == [18, 18, 2], 10.0, "the codes are not in the events")


def codes(path):
    with open(path, encoding="utf-8") as file:
        found = [json.loads(line) for line in file if line.endswith("\n")]
    return [event["code"] for event in found if event["event"] == "session.refused"]


def test_many_refused_connections_are_a_few_warnings(world):
    """A few at once, then one a second that counts the others; so at both agents."""
    tunnel = world.tunnel("192.0.2.1:80", far_options=["--allow", "192.0.2.1:81"])
    began = time.monotonic()
    for _ in range(200):
        expect_session_reset(tunnel.port(), 10.0)
    most = 6 + time.monotonic() - began
    tunnel.near.wait_for("no session to agent2:192.0.2.1:80", stream="err")
    assert tunnel.near.count("no session to agent2") <= most
    tunnel.far.wait_for("refused 192.0.2.1:80 for agent1", stream="err")
    assert tunnel.far.count("refused 192.0.2.1:80 for agent1") <= most

    def is_counted(agent):
        expect_session_reset(tunnel.port(), 10.0)
        return agent.count(r"and \d+ more like it were not logged") > 0

    eventually(lambda: is_counted(tunnel.near), 30.0, "what was left out is not counted")
    eventually(lambda: is_counted(tunnel.far), 30.0, "what was left out is not counted")


def test_an_agent_with_rules_says_that_it_dials_nothing(world):
    gateway = world.gateway()
    world.agent(gateway, "agent2", "0:agent1:127.0.0.1:1")
    near = world.agent(gateway, "agent1", "0:agent2:127.0.0.1:80")
    expect_session_reset(near.port(), 3.0)
    near.wait_for("has no --allow and dials nothing for others", stream="err")


def test_an_ipv6_target_is_shown_in_brackets(world):
    tunnel = world.tunnel("[::]:80", far_options=["--allow", "192.0.2.1:81"])
    expect_session_reset(tunnel.port(), 3.0)
    tunnel.far.wait_for(r"refused \[::\]:80 for agent1: the dialling agent", stream="err")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_without_rules_loopback_is_allowed(world, host):
    server = world.echo_server(address="::1" if host == "[::1]" else "127.0.0.1")
    world.tunnel(f"{host}:{server.port}").check()


def test_without_rules_only_loopback_is_allowed(world):
    address = own_address()
    if not address:
        pytest.skip("this machine has only loopback")
    server = world.echo_server(address=address)
    assert_forbidden(world.tunnel(f"{address}:{server.port}"))
    assert server.accepted == 0


def test_an_agent_with_rules_dials_nothing(world):
    server = world.echo_server()
    gateway = world.gateway()
    busy = world.agent(gateway, "agent2", f"0:agent1:127.0.0.1:{server.port}")
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{server.port}")
    expect_session_reset(near.port())
    expect_session_reset(busy.port())
    assert server.accepted == 0


def test_an_agent_with_rules_dials_what_it_allows(world):
    server = world.echo_server()
    gateway = world.gateway()
    world.agent(gateway, "agent2", f"0:agent1:127.0.0.1:{server.port}",
                options=["--allow", f"127.0.0.1:{server.port}"])
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{server.port}")
    echo_once(near.port())


ALLOWING = {
    "host-and-port": "127.0.0.1:{port}",
    "network-and-port": "127.0.0.0/8:{port}",
    "host-any-port": "127.0.0.1:*",
    "network-and-range": "127.0.0.0/30:1024-65535",
    "one-port-range": "127.0.0.1/32:{port}-{port}",
    "everything": "*",
}

FORBIDDING = {
    "other-port": "127.0.0.1:1",
    "other-host": "127.0.0.2:{port}",
    "other-network": "10.0.0.0/8:{port}",
    "narrow-network": "127.0.0.4/30:{port}",
    "other-range": "127.0.0.0/8:1-1023",
}


@pytest.mark.parametrize("rule", ALLOWING.values(), ids=ALLOWING)
def test_a_rule_that_allows(world, rule):
    server = world.echo_server()
    tunnel_to(world, server.port, rule.format(port=server.port)).check()


@pytest.mark.parametrize("rule", FORBIDDING.values(), ids=FORBIDDING)
def test_a_rule_that_does_not_allow(world, rule):
    server = world.echo_server()
    tunnel = tunnel_to(world, server.port, rule.format(port=server.port))
    assert_forbidden(tunnel)
    assert server.accepted == 0


def test_rules_add_up(world):
    servers = [world.echo_server() for _ in range(2)]
    gateway = world.gateway()
    world.agent(gateway, "agent2", options=[
        word for server in servers for word in ("--allow", f"127.0.0.1:{server.port}")])
    near = world.agent(gateway, "agent1", *(
        f"0:agent2:127.0.0.1:{server.port}" for server in servers))
    for index in range(2):
        echo_once(near.port(index))


def test_ipv6_rules(world):
    server = world.echo_server(address="::1")
    gateway = world.gateway()
    world.agent(gateway, "allowing", options=["--allow", f"[::1]:{server.port}"])
    world.agent(gateway, "network", options=["--allow", f"[::/64]:{server.port}"])
    world.agent(gateway, "forbidding", options=["--allow", f"[::2]:{server.port}"])
    near = world.agent(gateway, "near", *(
        f"0:{name}:[::1]:{server.port}" for name in ("allowing", "network", "forbidding")))
    echo_once(near.port(0))
    echo_once(near.port(1))
    expect_session_reset(near.port(2))


def test_an_ipv4_address_written_as_ipv6_is_the_same_address(world):
    server = world.echo_server()
    tunnel = tunnel_to(world, f"[::ffff:127.0.0.1]:{server.port}", f"10.0.0.0/8:{server.port}")
    assert_forbidden(tunnel)
    assert server.accepted == 0


def test_localhost_in_a_rule_allows_loopback(world):
    server = world.echo_server()
    tunnel_to(world, f"localhost:{server.port}", f"localhost:{server.port}").check()


def test_a_name_that_resolves_to_loopback_is_refused(world):
    name = loopback_name()
    if not name:
        pytest.skip("/etc/hosts has no other name of loopback")
    server = world.echo_server()
    tunnel = tunnel_to(world, f"{name}:{server.port}", f"{name}:{server.port}")
    assert_forbidden(tunnel)
    assert server.accepted == 0


def test_a_loopback_address_allows_no_name_but_localhost(world):
    name = loopback_name()
    if not name:
        pytest.skip("/etc/hosts has no other name of loopback")
    server = world.echo_server()
    gateway = world.gateway()
    world.agent(gateway, "agent2", options=["--allow", f"127.0.0.1:{server.port}"])
    near = world.agent(gateway, "agent1", f"0:agent2:{name}:{server.port}",
                       f"0:agent2:localhost:{server.port}")
    expect_session_reset(near.port(0))
    assert server.accepted == 0
    echo_once(near.port(1))


@pytest.mark.parametrize("rule", ["service.test", "{network}"], ids=["name", "network"])
def test_a_name_that_resolves_to_an_outer_address_is_allowed(world, rule):
    """In a mount namespace of its own, with an /etc/hosts of its own."""
    address = own_address()
    unshare = shutil.which("unshare")
    if not address or os.geteuid() != 0 or run([unshare, "-m", "true"]).returncode != 0:
        pytest.skip("needs a network and the right to unshare mounts")
    server = world.echo_server(address=address)
    hosts = world.write("hosts", f"127.0.0.1 localhost\n{address} service.test\n", mode=0o644)
    gateway = world.gateway()
    rule = rule.format(network=f"{address}/32")
    world.agent(gateway, "agent2", options=["--allow", f"{rule}:{server.port}"],
                wrapper=[unshare, "-m", "sh", "-c",
                         f"mount --bind {hosts} /etc/hosts && exec \"$@\"", "sh"])
    near = world.agent(gateway, "agent1", f"0:agent2:service.test:{server.port}",
                       f"0:agent2:{address}:{server.port}")
    echo_once(near.port(0))
    if rule.startswith("service"):
        expect_session_reset(near.port(1))
    else:
        echo_once(near.port(1))


def test_a_name_without_an_address(world):
    tunnel = tunnel_to(world, "no-such-host.invalid:80", "*")
    expect_session_reset(tunnel.port())


def test_an_agent_never_dials_its_own_listener(world):
    """A rule that leads to itself would otherwise go round for ever."""
    gateway = world.gateway()
    port = free_port()
    agent = world.agent(gateway, "agent1", f"{port}:agent1:127.0.0.1:{port}",
                        f"0:agent1:localhost:{port}", options=["--allow", "*"])
    for index in range(2):
        expect_session_reset(agent.port(index))


def test_an_agent_never_dials_its_gateway(world):
    gateway = world.gateway()
    world.agent(gateway, "agent2", options=["--allow", "*"])
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{gateway.port}",
                       f"0:agent2:localhost:{gateway.port}")
    for index in range(2):
        expect_session_reset(near.port(index))


def test_sessions_from_an_agent_to_itself(world):
    server = world.echo_server()
    gateway = world.gateway()
    agent = world.agent(gateway, "agent1", f"0:agent1:127.0.0.1:{server.port}",
                        options=["--allow", "*"])
    echo_once(agent.port())


def test_a_gateway_that_denies_refuses_every_session(world):
    server = world.echo_server()
    tunnel = world.tunnel(server.port, policy="--auth-deny")
    expect_session_reset(tunnel.port())
    assert server.accepted == 0


def test_an_agent_on_long_poll_never_dials_its_gateway(world):
    gateway = world.gateway()
    far = world.agent(gateway, "agent2", options=["--allow", "*", "--transport", "poll"])
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{gateway.port}",
                       f"0:agent2:localhost:{gateway.port}")
    for index in range(2):
        expect_session_reset(near.port(index))
    eventually(lambda: far.count("refused .* for agent1") == 2)


@pytest.mark.parametrize("transport", ["websocket", "poll"])
def test_no_name_of_loopback_leads_to_a_gateway_on_loopback(world, transport):
    """One that listens on all addresses is reached by ::1 and 127.0.0.2 too."""
    if not has_ipv6():
        pytest.skip("this system has no IPv6")
    port = free_port()
    gateway = world.gateway(listen=f":{port}")
    far = world.agent(gateway, "agent2", options=["--allow", "*", "--transport", transport],
                      url=f"ws://127.0.0.1:{port}")
    hosts = ("127.0.0.1", "127.0.0.2", "[::1]", "localhost")
    near = world.agent(gateway, "agent1", *(f"0:agent2:{host}:{port}" for host in hosts),
                       url=f"ws://127.0.0.1:{port}")
    for index in range(len(hosts)):
        expect_session_reset(near.port(index))
    eventually(lambda: far.count("refused .* for agent1: .* never dialled") == len(hosts))


def tunnel_to_gateway(connection, port):
    """A proxy's part: whatever is asked for, the gateway it is."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(65536)
    with connect(port) as gateway:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        back = Task(pass_on, gateway, connection)
        pass_on(connection, gateway)
        back.finish(PATIENCE)


def test_every_address_of_a_gateway_behind_a_proxy_is_denied(world):
    """Only the proxy looks the gateway's name up for the link; the agent does for this."""
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or run([unshare, "-m", "true"]).returncode != 0:
        pytest.skip("needs a network and the right to unshare mounts")
    hosts = world.write("hosts", "127.0.0.1 localhost\n" +
                        "".join(f"{address} gateway.test\n" for address in OUTER), mode=0o644)
    gateway = world.gateway()
    wrapper = [unshare, "-m", "sh", "-c",
               f"mount --bind {hosts} /etc/hosts && exec \"$@\"", "sh"]
    proxy = world.server(lambda connection: tunnel_to_gateway(connection, gateway.port))
    far = world.agent(None, "agent2", url=f"ws://gateway.test:{gateway.port}", wrapper=wrapper,
                      options=["--allow", "*", "--proxy", f"http://127.0.0.1:{proxy.port}"])
    near = world.agent(gateway, "agent1",
                       *(f"0:agent2:{address}:{gateway.port}" for address in OUTER))
    for index in range(len(OUTER)):
        expect_session_reset(near.port(index))
    eventually(lambda: far.count("refused .* for agent1") == len(OUTER))
