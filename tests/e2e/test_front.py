"""Behind nginx and HAProxy, as docs/reverse-proxy.md says, and whose word for an address counts."""

import json
import pathlib
import re
import shlex
import shutil
import socket
import ssl
import struct
import threading

import pytest

from culvert.fronts import SBIN, Nginx, nginx_command
from culvert.peers import connect, expect_gone, free_port, has_ipv6, pass_on
from culvert.polls import Poll
from culvert.process import eventually
from culvert.wire import ACK, DATA, FIN, OPEN, Link, encode
from culvert.world import ROOT

PAGE = pathlib.Path(ROOT, "docs", "reverse-proxy.md").read_text(encoding="utf-8")
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def free_in_both():
    """A port that is free for IPv4 and for IPv6."""
    port = free_port("::1")
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
        return port
    except OSError:
        return None


def section(heading):
    """The blocks of a section of the page: the gateway's command, and the proxy's configuration."""
    text = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]
    command = re.search(r"^```sh\n(.*?)^```", text, re.M | re.S)[1]
    configuration = re.search(r"^```(?:nginx|haproxy)\n(.*?)^```", text, re.M | re.S)[1]
    return command, configuration


class Front:
    """A gateway and the proxy before it, with the page's command and configuration; only ports and
    paths are this test's own. Clients come to the proxy over IPv6 and the proxy to the gateway over
    IPv4, so that their addresses differ."""

    def __init__(self, world, heading, trusts=True):
        self.world = world
        self.events = world.path("events.json")
        self.port = None
        certificate = world.authority.issue(world.unique("front"))
        both = "".join(pathlib.Path(path).read_text(encoding="ascii")
                       for path in (certificate.certificate, certificate.key))
        self._paths = {"/etc/ssl/gateway.example.pem": certificate.certificate,
                       "/etc/ssl/gateway.example.key": certificate.key,
                       "/etc/ssl/gateway.example.both.pem": world.write("both.pem", both)}
        command, self._configuration = section(heading)
        words = shlex.split(command)
        assert words[:2] == ["culvert", "gateway"]
        if not trusts:
            at = words.index("--trusted-proxy")
            del words[at:at + 2]
        words = [self._paths.get(word, word) for word in words[2:]]
        words[words.index("127.0.0.1:8080")] = "127.0.0.1:0"
        self.gateway = world.bare_gateway(*words, "--open", "--events", self.events)
        self._start(is_nginx="nginx" in heading, is_stream="stream {" in self._configuration)

    def _start(self, is_nginx, is_stream):
        self.port = eventually(free_in_both)
        text = self._configuration.replace("127.0.0.1:8080", f"127.0.0.1:{self.gateway.port}")
        for path, own in self._paths.items():
            text = text.replace(path, own)
        for written, own in (("listen 443", f"listen 127.0.0.1:{self.port}"),
                             ("[::]:443", f"[::1]:{self.port}"),
                             (":::443 v4v6", f"::1:{self.port}")):
            text = text.replace(written, own)
        assert not re.search(r"\b443\b|/etc/", text), text
        command = nginx_command(self.world, text, is_stream) if is_nginx \
            else self._haproxy(text)
        self.process = self.world.process("front", command)
        eventually(self._answers, message="the proxy does not listen")

    def _answers(self):
        assert self.process.is_running(), self.process.output()
        try:
            connect(self.port, "::1", timeout=1).close()
            return True
        except OSError:
            return False

    def _haproxy(self, text):
        return [shutil.which("haproxy", path=SBIN), "-db", "-f",
                self.world.write("haproxy.cfg", text)]

    def url(self):
        return f"wss://[::1]:{self.port}"



HTTP = ["nginx", "HAProxy"]
TCP = ["HAProxy, with TLS in the gateway", "nginx, with TLS in the gateway"]


@pytest.fixture(autouse=True)
def needs_ipv6():
    if not has_ipv6():
        pytest.skip("this system has no IPv6")


def read_events(path, event):
    with open(path, encoding="ascii") as file:
        found = [json.loads(line) for line in file if line.endswith("\n")]
    return [one for one in found if one["event"] == event]


def address_of(path, agent):
    """The address in the event of this agent's registration."""
    found = eventually(lambda: [one["address"] for one in read_events(path, "agent.registered")
                                if one["agent"] == agent], message=f"{agent} did not register")
    return found[0]


@pytest.mark.parametrize("heading", HTTP + TCP)
def test_agents_behind_a_proxy(world, heading):
    front = Front(world, heading)
    ca = ("--ca", world.authority.certificate)
    world.agent(front.gateway, "far", url=front.url(), options=ca)
    server = world.echo_server()
    near = world.agent(front.gateway, "near", f"0:far:127.0.0.1:{server.port}", url=front.url(),
                       options=ca)
    with connect(near.port()) as client:
        client.sendall(b"x" * 100000)
        client.shutdown(socket.SHUT_WR)
        assert sum(len(piece) for piece in iter(lambda: client.recv(65536), b"")) == 100000
    pattern = r"\[::1\]" if heading in HTTP else r"\[::1\]:\d+"
    for agent in ("far", "near"):
        address = address_of(front.events, agent)
        assert re.fullmatch(pattern, address), address
    opened = eventually(lambda: read_events(front.events, "session.opened"))
    assert opened[0]["source_address"] == address_of(front.events, "near")


@pytest.mark.parametrize("heading", HTTP + TCP)
def test_long_poll_behind_a_proxy(world, heading):
    front = Front(world, heading)
    context = ssl.create_default_context(cafile=world.authority.certificate)
    near, far = (Poll(world, front, context=context, address="::1") for _ in range(2))
    assert near.shake_hands("near")["Ok"] and far.shake_hands("far")["Ok"]
    assert address_of(front.events, "near").startswith("[::1]")
    near.open(1, "far", 80)
    other = far.wait_for(OPEN)[0]
    far.send_message(ACK, [other, True, 0, ""])
    assert near.wait_for(ACK, 1)[1]
    body = b"".join(encode(DATA, [1, b"x" * 50000]) for _ in range(5))
    near.send(body)
    size = 0
    while size < 250000:
        size += len(far.wait_for(DATA, other)[1])
    skipped = b"".join(encode(0x7F, [b"x" * 4000]) for _ in range(261))
    near.send(skipped + encode(0x7F, [b"x" * (1024 * 1024 - len(skipped) - 5)]))
    near.send_message(FIN, [1])
    far.send_message(FIN, [other])
    assert near.wait_for(FIN, 1)


@pytest.mark.parametrize("heading", HTTP)
def test_what_a_client_writes_into_the_field_is_not_believed(world, heading):
    front = Front(world, heading)
    context = ssl.create_default_context(cafile=world.authority.certificate)
    link = world.keep(Link.connect(front, context, address="::1",
                                   extra="X-Forwarded-For: 198.51.100.1, 127.0.0.1\r\n"))
    assert link.shake_hands("liar")["Ok"]
    assert address_of(front.events, "liar") == "[::1]"


@pytest.mark.parametrize("heading", HTTP)
def test_a_proxy_that_is_not_trusted(world, heading):
    front = Front(world, heading, trusts=False)
    world.agent(front.gateway, "agent", url=front.url(),
                options=("--ca", world.authority.certificate))
    assert address_of(front.events, "agent").startswith("127.0.0.1:")


@pytest.mark.parametrize("heading", TCP)
def test_a_proxy_header_that_is_not_trusted(world, heading):
    front = Front(world, heading, trusts=False)
    agent = world.agent(front.gateway, "agent", url=front.url(), wait=False,
                        options=("--ca", world.authority.certificate))
    agent.wait_for("cannot register at")
    front.gateway.wait_for(r"a PROXY header came from 127\.0\.0\.1:\d+, which no --trusted-proxy")
    assert read_events(front.events, "agent.registered") == []


def test_the_times_are_longer_than_the_pings_are_apart(world):
    link = world.keep(Link.connect(world.gateway()))
    seconds = link.shake_hands("agent")["Keepalive"]
    for heading in HTTP + TCP:
        times = re.findall(r"(?:proxy_(?:read_|send_)?timeout|timeout (?:client|server|tunnel)) "
                           r"(\d+)s", section(heading)[1])
        assert times and all(int(time) > 2 * seconds for time in times)


# Without a proxy: what somebody may send.


def opening(kind):
    if kind == "text":
        return b"PROXY TCP4 203.0.113.7 192.0.2.1 50110 443\r\n"
    addresses = socket.inet_aton("203.0.113.7") + socket.inet_aton("192.0.2.1")
    body = addresses + struct.pack("!HH", 50110, 443) + b"\x04\x00\x02xx" + b"\x20\x00\x01y"
    return SIGNATURE + b"\x21\x11" + struct.pack("!H", len(body)) + body


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_a_header_that_comes_byte_by_byte(world, secure, kind):
    events = world.path("events.json")
    gateway = world.gateway("--events", events, "--trusted-proxy", "127.0.0.0/8", secure=secure)
    context = ssl.create_default_context(cafile=world.authority.certificate) if secure else None
    header = opening(kind)
    link = world.keep(Link.connect(gateway, context,
                                   opening=[bytes([byte]) for byte in header]))
    assert link.shake_hands("agent")["Ok"]
    assert address_of(events, "agent") == "203.0.113.7:50110"
    link = world.keep(Link.connect(gateway, context, opening=[header],
                                   extra="X-Forwarded-For: 198.51.100.1\r\n"))
    assert link.shake_hands("other")["Ok"]
    assert address_of(events, "other") == "203.0.113.7:50110"


@pytest.mark.parametrize("first", [opening("text"), opening("binary"), SIGNATURE + b"\x20\0\0\0",
                                   b"PROXY UNKNOWN\r\n"])
def test_nobody_is_believed_by_default(world, secure, first):
    gateway = world.gateway(secure=secure)
    client = world.keep(connect(gateway.port))
    client.sendall(first)
    gateway.wait_for("a PROXY header came from 127.0.0.1")
    expect_gone(client)


def test_a_field_from_somebody_is_not_believed(world):
    events = world.path("events.json")
    gateway = world.gateway("--events", events, "--trusted-proxy", "127.0.0.2",
                            "--trusted-proxy", "::1", "--trusted-proxy", "0.0.0.0/1")
    assert world.keep(Link.connect(gateway, extra="X-Forwarded-For: 198.51.100.1\r\n")).shake_hands(
        "believed")["Ok"]
    assert address_of(events, "believed") == "198.51.100.1"
    gateway = world.gateway("--events", events + "2", "--trusted-proxy", "127.0.0.2",
                            "--trusted-proxy", "::/0")
    assert world.keep(Link.connect(gateway, extra="X-Forwarded-For: 198.51.100.1\r\n")).shake_hands(
        "ignored")["Ok"]
    assert address_of(events + "2", "ignored").startswith("127.0.0.1:")


@pytest.mark.parametrize("first", [b"PROXY TCP4 x\r\n", b"PROXY " + b"x" * 200,
                                   SIGNATURE + b"\x21\x11\xff\xff", SIGNATURE + b"\x3f\0\0\0"])
def test_a_wrong_header_from_a_trusted_proxy(world, first):
    gateway = world.gateway("--trusted-proxy", "127.0.0.1")
    client = world.keep(connect(gateway.port))
    client.sendall(first)
    gateway.wait_for("the PROXY header from 127.0.0.1:.* is (malformed|too large)")
    expect_gone(client)


def test_a_proxy_that_removes_the_upgrade_is_named(world):
    """The agent says that the gateway answers, and what to set in the proxy."""
    front = Nginx(world, world.gateway(), "")
    agent = world.bare_agent("agent1", "--url", front.url(), "--name", "agent1", "--transport",
                             "websocket")
    agent.wait_for(r"the gateway answers, but a proxy before it removes the Upgrade header .*426.*"
                   r"proxy_set_header Upgrade \$http_upgrade", stream="err")
    assert "no culvert gateway" not in agent.output("err")


def test_a_proxy_whose_gateway_is_away_is_named(world):
    gateway = world.gateway()
    front = Nginx(world, gateway, "")
    gateway.stop()
    agent = world.bare_agent("agent1", "--url", front.url(), "--name", "agent1", "--transport",
                             "websocket")
    agent.wait_for("the proxy there does not reach the gateway: it answered HTTP 502 Bad Gateway, "
                   "Server: nginx.*check that the gateway runs", stream="err")
    assert "no culvert gateway" not in agent.output("err")


@pytest.mark.parametrize("count, size", [(90, 20), (50, 280)], ids=["many", "long"])
def test_a_proxy_that_adds_many_fields(world, count, size):
    """The answer to the upgrade may have 100 fields and 16 KiB."""
    gateway = world.gateway()
    fields = b"".join(b"X-Added-%d: %s\r\n" % (i, b"x" * size) for i in range(count))

    def relay(near):
        with connect(gateway.port) as far:
            far.sendall(near.recv(65536))
            head = b""
            while b"\r\n\r\n" not in head:
                piece = far.recv(65536)
                assert piece
                head += piece
            near.sendall(head.replace(b"\r\n\r\n", b"\r\n" + fields + b"\r\n", 1))
            near.settimeout(None)
            far.settimeout(None)
            copies = [threading.Thread(target=pass_on, args=pair, daemon=True)
                      for pair in ((near, far), (far, near))]
            for one in copies:
                one.start()
            for one in copies:
                one.join()

    world.agent(None, "a", url=f"ws://127.0.0.1:{world.server(relay).port}",
                options=("--transport", "websocket"))
