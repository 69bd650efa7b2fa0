"""Agents that reach their gateway by long poll: through web servers, proxies and worse, and what
they say when it does not work."""

import os
import re
import shutil
import threading
import time

import pytest

from culvert.fronts import Nginx
from culvert.peers import (Server, connect, echo_bulk, echo_once, free_port, in_parallel,
                           receive_exactly)
from culvert.process import run
from culvert.proxies import ENCODED, PASSWORD, USER, Microsocks, SecureFront, Squid, Tinyproxy
from culvert.services import PostgresServer, SshServer
from culvert.timing import BUSY, compare_round_trips
from culvert.world import MEGABYTE, environment

WANTED = 50  # Mbit/s each way
TRIES = 4


def start(world, **settings):
    """A gateway that does not wait for sessions when it is stopped."""
    return world.gateway("--drain", "0", **settings)


def poll_url(port, secure=False, path=""):
    return f"poll+http{'s' if secure else ''}://127.0.0.1:{port}{path}"


def trust(world, secure):
    return ["--ca", world.authority.certificate] if secure else []


def carry(world, *options, port=None, secure=False, gateway=None, target=None):
    """An agent by long poll with a rule, towards one that listens by WebSocket."""
    gateway = gateway or start(world)
    target = target or world.echo_server().port
    world.agent(gateway, "far")
    return world.agent(None, "near", f"0:far:127.0.0.1:{target}",
                       url=poll_url(port or gateway.port, secure),
                       options=[*options, *trust(world, secure)])


def both(world, url, *options):
    """Both agents come by this URL."""
    world.agent(None, "far", url=url, options=options)
    return world.agent(None, "near", f"0:far:127.0.0.1:{world.echo_server().port}", url=url,
                       options=options)


def is_kept(agent):
    return not re.search("link.lost|lost the link", agent.output())


def say(client, word=b"still there"):
    client.sendall(word)
    assert receive_exactly(client, len(word)) == word


# ---- ways that are as they should be ----

@pytest.mark.threads
def test_straight(world, secure):
    gateway = start(world, secure=secure)
    near = both(world, poll_url(gateway.port, secure), *trust(world, secure))
    echo_once(near.port())
    echo_bulk(near.port(), 50 * MEGABYTE)
    in_parallel(lambda _: echo_once(near.port()), range(50), workers=20)


def test_nginx(world, secure):
    """As it comes: it buffers both ways, and takes bodies of 1 MiB."""
    front = Nginx(world, start(world), "", secure=secure)
    near = both(world, poll_url(front.port, secure), *trust(world, secure))
    echo_once(near.port())
    echo_bulk(near.port(), 50 * MEGABYTE)
    assert is_kept(near)


@pytest.fixture(scope="module")
def proxies(services):
    basic = Squid(services, "basic")
    return {"basic": basic, "digest": Squid(services, "digest"), "tinyproxy": Tinyproxy(services),
            "socks": Microsocks(services), "tls": SecureFront(services, basic)}


@pytest.mark.parametrize("kind", ["basic", "digest", "tinyproxy", "socks", "tls"])
def test_proxies(world, secure, proxies, kind):
    """Without TLS no CONNECT is needed but for SOCKS5: the requests are the proxy's to pass on."""
    password = "secret" if kind == "tinyproxy" else ENCODED
    gateway = start(world, secure=secure)
    near = both(world, poll_url(gateway.port, secure), *trust(world, secure), "--proxy",
                proxies[kind].url(f"{USER}:{password}"), "--proxy-ca", world.authority.certificate)
    echo_once(near.port())
    echo_bulk(near.port(), 30 * MEGABYTE)
    assert is_kept(near)


class RequestLines:
    """A proxy that only keeps the first line of each request, and refuses it."""

    def __init__(self, world):
        self.lines = []
        self.port = world.server(self._handle).port

    def _handle(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(4096)
            if not piece:
                return
            data += piece
        self.lines.append(data.split(b"\r\n")[0].decode())
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nServer: a proxy\r\nContent-Length: 0\r\n\r\n")


def test_a_proxy_gets_plain_requests(world):
    proxy = RequestLines(world)
    said = told(world, "poll+http://gateway.example/a?b", "--proxy",
                f"http://127.0.0.1:{proxy.port}")
    assert proxy.lines[0] == "POST http://gateway.example/a?b HTTP/1.1"
    assert (f"no culvert gateway, or the proxy http://127.0.0.1:{proxy.port} (--proxy) lets no "
            "requests to it pass: the answer was HTTP 403 Forbidden, Server: a proxy") in said


def test_connections_are_kept(world):
    gateway = start(world)
    counter = world.proxy(gateway.port)
    near = carry(world, gateway=gateway, port=counter.port)
    with connect(near.port()) as client:
        for _ in range(100):
            say(client)
    assert counter.accepted() <= 4


def test_ssh_and_psql(world, services):
    """Through nginx that buffers."""
    gateway = start(world)
    sshd, postgres = SshServer(services), PostgresServer(services)
    front = Nginx(world, gateway, "")
    far = world.agent(gateway, "far")
    near = world.agent(None, "near", f"0:far:127.0.0.1:{sshd.port}",
                       f"0:far:127.0.0.1:{postgres.port}", url=poll_url(front.port))
    done = run(["ssh", *sshd.options(), "-p", near.port(), "localhost",
                "echo out; echo err >&2; exit 7"])
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    done = run(["psql", "-X", "-At",
                f"host=127.0.0.1 port={near.port(1)} sslmode=require user=postgres dbname=postgres",
                "-c", "select sum(n) from generate_series(1, 100000) n"], env=environment())
    assert done.stdout.strip() == "5000050000", done.stderr
    assert far.is_running()


# ---- how fast ----

def rate(action, size):
    """Mbit/s."""
    before = time.monotonic()
    action()
    return size * 8 / 1e6 / (time.monotonic() - before)


def upload(port, size):
    """To a server that answers once it has everything."""
    with connect(port) as client:
        client.sendall(b"u" + size.to_bytes(8, "big") + bytes(size))
        assert receive_exactly(client, 2) == b"ok"


def download(port, size):
    with connect(port) as client:
        client.sendall(b"d" + size.to_bytes(8, "big"))
        receive_exactly(client, size)


def sink_or_source(connection):
    head = receive_exactly(connection, 9)
    size = int.from_bytes(head[1:], "big")
    if head[:1] == b"d":
        connection.sendall(bytes(size))
        return
    receive_exactly(connection, size)
    connection.sendall(b"ok")


@pytest.mark.once
@pytest.mark.parametrize("action", [upload, download])
def test_throughput_through_a_buffering_proxy(world, action):
    gateway = start(world)
    target = world.server(sink_or_source).port
    near = carry(world, gateway=gateway, port=Nginx(world, gateway, "").port, target=target)
    size = 20 * MEGABYTE
    shares = []
    while len(shares) < TRIES and max(shares, default=0) < 1:
        direct = rate(lambda: action(target, size), size)
        shares.append(rate(lambda: action(near.port(), size), size) / min(WANTED, direct / BUSY))
    assert max(shares) >= 1, shares


@pytest.mark.once
def test_echo_while_idle(world):
    """About one round trip of the way: far below the time between two polls or two tries."""
    gateway = start(world)
    echo_server = world.echo_server()
    url = poll_url(Nginx(world, gateway, "").port)
    world.agent(None, "far", url=url)
    near = world.agent(None, "near", f"0:far:127.0.0.1:{echo_server.port}", url=url)
    tunnelled, direct = compare_round_trips(near.port(), echo_server.port, 100)
    assert tunnelled < 0.03 + BUSY * direct


# ---- ways that are not ----

def test_a_proxy_that_cuts_what_waits(world):
    """nginx answers 504 after 1 s; the link does not notice."""
    gateway = start(world)
    front = Nginx(world, gateway, "proxy_read_timeout 1s;")
    near = both(world, poll_url(front.port))
    with connect(near.port()) as client:
        say(client)
        for _ in range(3):
            front.process.wait_for("upstream timed out", since=front.process.mark())
            say(client)
    assert is_kept(near) and is_kept(gateway)


@pytest.mark.parametrize("limit", ["60k", "4k"])
def test_a_proxy_that_takes_small_bodies_only(world, limit):
    """nginx answers 413 to larger ones; the link goes on with smaller ones, and is not lost."""
    front = Nginx(world, start(world), f"client_max_body_size {limit};")
    near = both(world, poll_url(front.port))
    with connect(near.port()) as client:
        say(client)
        echo_bulk(near.port(), 5 * MEGABYTE)
        say(client)
    front.process.wait_for("client intended to send too large body")
    assert is_kept(near)


class Relay:
    """A proxy that passes requests on to a gateway one by one, as far as its `trouble` lets it:
    `trouble(count, connection)` returns "pass", "before" or "after", to answer 502 or to close
    without an answer ("cut before", "cut after")."""

    def __init__(self, world, port, trouble):
        self._target = port
        self._trouble = trouble
        self._lock = threading.Lock()
        self.count = 0
        self.port = world.keep(Server(self._handle)).port

    @staticmethod
    def _read(connection):
        """A whole message, or nothing at the end."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        size = re.search(rb"(?i)content-length: (\d+)", head)
        return data + receive_exactly(connection, (int(size[1]) if size else 0) - len(rest))

    def _handle(self, connection):
        with connect(self._target) as far:
            far.settimeout(None)
            connection.settimeout(None)
            while message := self._read(connection):
                with self._lock:
                    self.count += 1
                    what = self._trouble(self.count)
                answer = b""
                if not what.endswith("before"):
                    far.sendall(message)
                    answer = self._read(far)
                    if not answer:
                        return
                if what.startswith("cut"):
                    return
                if what != "pass":
                    answer = (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>")
                connection.sendall(answer)


@pytest.mark.parametrize("kind", ["before", "after", "cut before", "cut after"])
def test_a_proxy_that_fails_at_times(world, kind):
    gateway = start(world)
    world.agent(gateway, "far")
    relay = Relay(world, gateway.port,
                  lambda count: kind if count > 5 and count % 7 == 0 else "pass")
    near = world.agent(None, "near", f"0:far:127.0.0.1:{world.echo_server().port}",
                       url=poll_url(relay.port))
    for _ in range(5):
        echo_once(near.port())
    echo_bulk(near.port(), 10 * MEGABYTE)
    assert relay.count > 30
    assert is_kept(near) and is_kept(gateway)


def test_an_agent_that_ends_says_so(world):
    """At once, though its last request is still on the way when it is told to stop."""
    gateway = start(world)
    near = both(world, poll_url(Nginx(world, gateway, "").port))
    echo_once(near.port())
    near.stop()
    gateway.wait_for("agent.unregistered .*agent=near")


def test_a_system_without_certificate_authorities(world):
    """As it is without the package ca-certificates: what needs none works, the rest says it."""
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or run([unshare, "-m", "true"]).returncode != 0:
        pytest.skip("needs a network and the right to unshare mounts")
    wrapper = ["env", "-u", "SSL_CERT_FILE", "-u", "SSL_CERT_DIR", unshare, "-m", "sh", "-c",
               "mount -t tmpfs tmpfs /etc/ssl/certs && exec \"$@\"", "sh"]
    plain, secure = world.gateway(), world.gateway(secure=True)
    world.agent(plain, "agent1", wrapper=wrapper)
    world.agent(plain, "agent2", options=["--transport", "poll"], wrapper=wrapper)
    world.agent(secure, "agent3", wrapper=wrapper)
    world.agent(secure, "agent4", options=["--transport", "poll"], wrapper=wrapper)
    for transport, said in (
            ("poll", "install the package ca-certificates, or give --ca FILE"),
            ("websocket", "--ca FILE")):
        agent = world.agent(None, transport, url=secure.url("localhost"), wait=False,
                            options=["--transport", transport], wrapper=wrapper)
        agent.wait_for(f"cannot register at .*{said}", stream="err")
    wrapper[1:3] = ["SSL_CERT_FILE=/nowhere/ca.crt"]
    wrapper[2:4] = []
    world.agent(plain, "agent5", wrapper=wrapper)
    agent = world.agent(None, "agent6", url=secure.url("localhost"), wait=False, wrapper=wrapper)
    agent.wait_for("cannot register at .*--ca FILE", stream="err")


# ---- what it says when it does not work ----

def told(world, url, *options):
    """What an agent that cannot register says first."""
    agent = world.bare_agent(world.unique("agent"), "--url", url, "--name", "agent1", *options)
    agent.wait_for("trying again in", stream="err")
    assert "registered as" not in agent.output("out")
    return agent.output("err")


def answering(world, answer):
    """A server that answers each request so."""

    def handle(connection):
        connection.recv(65536)
        connection.sendall(answer)

    return poll_url(world.server(handle).port)


@pytest.mark.parametrize("answer,words", [
    (b"HTTP/1.1 404 Not Found\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n",
     "the server there is no culvert gateway: it answered HTTP 404 Not Found, Server: nginx"),
    (b"HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\nContent-Length: 0\r\n\r\n",
     "it answered HTTP 302 Found, which points to https://login.example/"),
    (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
     "the gateway cannot be reached through the server there: the answer was HTTP 502 Bad Gateway"),
    (b"HTTP/1.1 503 Wait\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n",
     "the server is busy and wants us back after 3 s"),
    (b"SSH-2.0-OpenSSH_9.2\r\n",
     "the server there is no culvert gateway: it does not answer in HTTP"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 3000 + b"\r\n", "the server's answer is too long"),
    (b"", "the server closed the connection without an answer; does the server expect TLS"),
])
def test_servers_that_are_none(world, answer, words):
    assert words in told(world, answering(world, answer))


def test_nobody_there(world):
    assert "Connection refused" in told(world, poll_url(free_port()))


def test_certificates(world):
    gateway = start(world, secure=True)
    said = told(world, poll_url(gateway.port, secure=True))
    assert "certificate is signed by an unknown CA" in said
    world.agent(None, "bold", url=poll_url(gateway.port, secure=True), options=["--insecure"])
    certificate = world.authority.issue(world.unique("other"), subjects=("DNS:other.example",))
    gateway = start(world, secure=True, certificate=certificate)
    said = told(world, poll_url(gateway.port, secure=True), *trust(world, True))
    assert "certificate is not accepted" in said and "127.0.0.1" in said
    certificate = world.authority.issue(world.unique("old"), expired=True)
    gateway = start(world, secure=True, certificate=certificate)
    said = told(world, poll_url(gateway.port, secure=True), *trust(world, True))
    assert "certificate has expired" in said


def test_no_tls_there(world):
    gateway = start(world)
    assert "TLS" in told(world, poll_url(gateway.port, secure=True))


def test_what_a_proxy_wants(world, proxies):
    gateway = start(world)
    said = told(world, poll_url(gateway.port), "--proxy", proxies["digest"].url())
    assert "wants a user and a password (407, by Digest)" in said
    said = told(world, poll_url(gateway.port), "--proxy",
                proxies["basic"].url(f"{USER}:{PASSWORD[0]}"))
    assert f'does not accept the user "{USER}"' in said
