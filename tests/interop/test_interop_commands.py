"""`culvert hubble-proxy` and `culvert hubble-agent` take the place of the originals."""

import ssl
import subprocess

import pytest

from culvert.peers import connect, receive_exactly
from culvert.process import run
from culvert.world import BINARY, culvert, environment
from hubble.by_hand import dial
from hubble.messages import ACK, HANDSHAKE, INITIATOR, acknowledge, encode

NAMESPACE = ["unshare", "--map-root-user", "--net"]


def expect_verdict(programs, proxy, answer):
    """What is said of a session to an agent that nobody knows."""
    east = programs.link(proxy, "east")
    east.open("s1", "nobody", 22)
    east.expect_bytes(acknowledge("s1", answer))


def expect_echo(port):
    with connect(port) as client:
        client.sendall(b"there and back")
        assert receive_exactly(client, 14) == b"there and back"


@pytest.mark.parametrize("options,answer", [
    ([], "Gateway not registered"), (["-authgrant"], "Gateway not registered"),
    (["-authgrant=false"], "Gateway not registered"), (["--authgrant"], "Gateway not registered"),
    (["-authdeny"], "Unauthorized"), (["-authdeny=true"], "Unauthorized"),
    (["-authgrant", "-authdeny"], "Unauthorized"), (["-authdeny", "-authgrant"], "Unauthorized")],
    ids=lambda value: "".join(value) if isinstance(value, list) else "")
def test_who_is_granted_what(programs, options, answer):
    expect_verdict(programs, programs.hubble_proxy(*options), answer)


SCRIPT = """
function connect(request)
    if request:key() == "%s" then error("as asked") end
    return request:ip() == "127.0.0.1" and request:port() == 22
        and request:gatename() == "west" and request:key() == "k"
end
"""


def test_a_script_of_the_originals(world, programs):
    path = world.write("policy.lua", SCRIPT % "broken")
    for options in (["-authlua", path], [f"-authlua={path}"], ["-authlua", path, "-authgrant"]):
        proxy = programs.hubble_proxy(*options)
        east, west = programs.link(proxy, "east"), programs.link(proxy, "west")
        for key, answer in (("x", "Unauthorized"), ("broken", "Authorization error.")):
            east.open("s1", "west", 22, key=key)
            east.expect_bytes(acknowledge("s1", answer))
        east.open("s1", "west", 22, key="k")
        west.accept()
        east.expect_bytes(acknowledge("s1"))
    expect_verdict(programs, programs.hubble_proxy("-authlua", path, "-authdeny"), "Unauthorized")


@pytest.mark.parametrize("verdict", ["nil", "1", "'true'", "{}"])
def test_a_script_whose_answer_is_no_boolean(world, programs, verdict):
    path = world.write("policy.lua", f"function connect(request) return {verdict} end\n")
    expect_verdict(programs, programs.hubble_proxy("-authlua", path), "Authorization error.")


def test_what_is_open_is_said(programs):
    programs.hubble_proxy().wait_for("WARNING.*GRANT", stream="err")
    proxy = programs.hubble_proxy("-authdeny")
    proxy.wait_for("WARNING.*OPEN", stream="err")
    assert proxy.count("GRANT") == 0


def test_keys_are_not_looked_at(programs):
    proxy = programs.hubble_proxy()
    for name, key in (("east", ""), ("west", "anything")):
        programs.link(proxy, name, key)


def test_the_default_port(programs):
    if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system lets us have no namespaces")
    proxy = programs.hubble_proxy(command=[*NAMESPACE, BINARY, "hubble-proxy"], listen=None)
    assert proxy.port == 8080


@pytest.mark.parametrize("command", ["hubble-proxy", "hubble-agent"])
def test_the_command_is_told_by_the_programs_name(programs, command):
    path = programs.symlink(command)
    proxy = programs.hubble_proxy(command=[path] if command == "hubble-proxy" else
                                  [BINARY, "hubble-proxy"])
    agent = [path] if command == "hubble-agent" else [BINARY, "hubble-agent"]
    echo = programs.world.echo_server()
    programs.hubble_agent("-url", proxy.url(), "-name", "west", name="west", command=agent)
    east = programs.hubble_agent("-url", proxy.url(), "-name", "east",
                                 f"0:west:127.0.0.1:{echo.port}", name="east", command=agent)
    expect_echo(east.port())


@pytest.mark.parametrize("arguments", [
    ["-url", "ws://127.0.0.1:1"], ["-name", "east"], [],
    ["-url", "http://127.0.0.1:1", "-name", "a"],
    ["-url", "ws://u:p@127.0.0.1:1", "-name", "a"], ["-unknown"],
    ["-url", "ws://127.0.0.1:1", "-name", "a", "nonsense"],
    ["-url", "ws://127.0.0.1:1", "-name", "a", "1:b:c:99999"]], ids=" ".join)
def test_a_wrong_command_line_of_the_agent(arguments):
    result = culvert("hubble-agent", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("culvert hubble-agent: ")


@pytest.mark.parametrize("arguments", [["-unknown"], ["-listen", "nonsense"], ["more"],
                                       ["-authlua", "/nowhere/policy.lua"]], ids=" ".join)
def test_a_wrong_command_line_of_the_proxy(arguments):
    result = culvert("hubble-proxy", *arguments)
    assert result.returncode != 0
    assert result.stderr


def test_options_in_every_form(programs, station):
    """As Go's flags: one dash or two, a value behind it or behind =."""
    url = station.url()
    for number, options in enumerate([["-url", url, "-name", "a b", "-key", "k"],
                                      ["--url", url, "--name", "a b", "--key", "k"],
                                      [f"-url={url}", "-name=a b", "-key=k"],
                                      [f"--url={url}", "--name=a b", "--key=k"]]):
        agent = programs.hubble_agent(*options, name=f"agent {number}", wait=False)
        station.upgrade().expect_bytes(encode(HANDSHAKE, Version="0.1", Name="a b", Key="k"))
        agent.kill()


@pytest.mark.parametrize("rule,fields", [
    ("0:west:h:22", {"Key": "", "Gatename": "west", "RemoteHost": "h", "RemotePort": 22}),
    ("0:k@west:h:22", {"Key": "k", "Gatename": "west", "RemoteHost": "h", "RemotePort": 22}),
    ("0:a@b@c@west:h:65535", {"Key": "a@b@c", "Gatename": "west", "RemoteHost": "h",
                              "RemotePort": 65535}),
    ("0:a:b:c@west:h:1", {"Key": "a:b:c", "Gatename": "west", "RemoteHost": "h",
                          "RemotePort": 1}),
    ("0:west::22", {"Gatename": "west", "RemotePort": 22})])
def test_rules_as_the_original_has_them(programs, station, rule, fields):
    agent = programs.hubble_agent("-url", station.url(), "-name", "east", rule, name="east",
                                  wait=False)
    peer, _ = station.register()
    agent.wait_registered()
    with connect(agent.port()):
        peer.expect(INITIATOR, **fields)


def test_a_tunnel_is_open_on_all_addresses(programs, station):
    agent = programs.hubble_agent("-url", station.url(), "-name", "east", "0:west:h:22",
                                  name="east", wait=False)
    peer, _ = station.register()
    agent.wait_registered()
    for address in ("127.0.0.1", "127.0.0.9", "::1"):
        with connect(agent.port(), address):
            peer.expect(INITIATOR)


def test_everything_is_dialled(programs, station):
    """Also beside rules, and beyond loopback: here nobody is, but it was tried."""
    programs.hubble_agent("-url", station.url(), "-name", "east", "0:west:h:22", name="east",
                          wait=False)
    peer, _ = station.register()
    peer.open("s1", "east", 9, host="255.255.255.255")
    body = peer.expect(ACK, GUID="s1", Ok=False)
    assert "Unauthorized" not in body["Message"] and body["Message"]


def test_a_refused_handshake_is_no_end(programs, station):
    agent = programs.hubble_agent("-url", station.url(), "-name", "east", name="east", wait=False)
    for message in ("Unauthorized", "the name is taken", ""):
        peer = station.upgrade()
        peer.expect(HANDSHAKE)
        peer.send(acknowledge(error=message))
        peer.close()
    station.register()
    agent.wait_registered()


def test_tls_with_a_ca(world, programs):
    """The original proxy stands behind a TLS front-end; a gateway brings its own."""
    gateway = programs.gateway(secure=True)
    ca = world.authority.certificate
    echo = world.echo_server()
    programs.hubble_agent("-url", gateway.url(), "-name", "west", "-ca", ca, name="west")
    east = programs.hubble_agent("-url", gateway.url(), "-name", "east", "-ca", ca,
                                 f"0:west:127.0.0.1:{echo.port}", name="east")
    expect_echo(east.port())
    context = ssl.create_default_context(cafile=ca)
    other = programs.background.agent(gateway.url("localhost"), "other",
                                      f"0:west:127.0.0.1:{echo.port}", context=context)
    expect_echo(other.port())
    stranger = programs.hubble_agent("-url", gateway.url(), "-name", "stranger", name="stranger",
                                     wait=False)
    stranger.wait_for("certificate", stream="err")


def test_tls_with_a_python_proxy(world, programs):
    certificate = world.authority.issue("proxy")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    proxy = world.keep(programs.background.proxy(context=context))
    programs.hubble_agent("-url", proxy.url("localhost"), "-name", "east", "-ca",
                          world.authority.certificate, name="east")
    assert proxy.names() == ["east"]


def test_a_plain_request_gets_an_answer_in_http(programs):
    proxy = programs.hubble_proxy()
    result = run(["curl", "-q", "-s", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}",
                  f"http://127.0.0.1:{proxy.port}/"], env=environment())
    assert result.stdout.startswith("4")
    dial(proxy.port).close()


def test_an_upgrade_of_a_web_page_is_refused(programs):
    with pytest.raises(AssertionError, match="HTTP/1.1 4"):
        dial(programs.hubble_proxy().port, fields=["Origin: http://page.example"])
