"""Networks that let no WebSocket pass, or none for long: agents go on by long poll, with what is
open, and come back to WebSocket when it works again."""

import re
import socket
import threading

import pytest

from culvert.fronts import Nginx
from culvert.peers import Server, connect, echo_bulk, echo_once, pass_on, receive_exactly
from culvert.process import eventually
from culvert.proxies import Tinyproxy
from culvert.world import MEGABYTE

STRIP = ""  # without more, nginx passes neither Upgrade nor Connection on
REFUSE = "if ($http_upgrade) { return 403; }"


class Censor:
    """A TCP proxy in front of a gateway that knows a WebSocket when it sees one: `deny`s it, cuts
    it after `lifetime` seconds, or lets it pass. Other requests pass."""

    def __init__(self, world, port):
        self._target = port
        self._lock = threading.Lock()
        self._websockets = []
        self.lifetime = None
        self.mode = "pass"
        self.seen = 0
        self.requests = 0
        self._server = world.keep(Server(self._relay))
        self.port = self._server.port

    def url(self):
        return f"ws://127.0.0.1:{self.port}"

    def _relay(self, near):
        head = b""
        while b"\r\n\r\n" not in head:
            data = near.recv(65536)
            if not data:
                return
            head += data
        is_websocket = b"upgrade: websocket" in head.lower()
        with self._lock:
            self.seen += is_websocket
            self.requests += not is_websocket
        if is_websocket and self.mode == "deny":
            near.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n"
                         b"\r\n")
            return
        if is_websocket and self.mode == "close":
            return
        with connect(self._target) as far:
            near.settimeout(None)
            far.settimeout(None)
            far.sendall(head)
            if is_websocket:
                with self._lock:
                    self._websockets.append((near, far))
                if self.mode == "cut":
                    timer = threading.Timer(self.lifetime, self._cut, [(near, far)])
                    timer.daemon = True
                    timer.start()
            back = threading.Thread(target=pass_on, args=(far, near), daemon=True)
            back.start()
            pass_on(near, far)
            back.join()

    def _cut(self, pair):
        with self._lock:
            if pair in self._websockets:
                self._websockets.remove(pair)
        for connection in pair:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut_all(self):
        with self._lock:
            pairs = list(self._websockets)
        for pair in pairs:
            self._cut(pair)


def say(client, word=b"still there"):
    client.sendall(word)
    assert receive_exactly(client, len(word)) == word


def behind(world, url, *options, ca=None):
    """An agent that comes by `url`, with a rule for an echo server."""
    server = world.echo_server()
    options = list(options) + (["--ca", ca] if ca else [])
    return world.agent(None, "near", f"0:far:127.0.0.1:{server.port}", url=url, options=options)


@pytest.mark.parametrize("lines", [STRIP, REFUSE], ids=["strips", "refuses"])
def test_nginx_that_does_not_let_an_upgrade_pass(world, secure, lines):
    gateway = world.gateway("--trusted-proxy", "127.0.0.1")
    world.agent(gateway, "far")
    nginx = Nginx(world, gateway, lines, secure=secure)
    near = behind(world, nginx.url(), ca=world.authority.certificate if secure else None)
    near.wait_for("by WebSocket: .*; trying long poll", stream="err")
    echo_once(near.port())
    echo_bulk(near.port(), 20 * MEGABYTE)


def test_a_url_that_is_for_long_poll(world, secure):
    """No WebSocket is tried."""
    gateway = world.gateway(secure=secure)
    world.agent(gateway, "far")
    censor = Censor(world, gateway.port)
    scheme = "poll+https" if secure else "poll+http"
    near = behind(world, f"{scheme}://127.0.0.1:{gateway.port if secure else censor.port}",
                  ca=world.authority.certificate if secure else None)
    near.wait_for(rf"^registered as near at {re.escape(scheme)}://", stream="out")
    echo_once(near.port())
    assert censor.seen == 0
    assert secure or censor.requests > 0


def test_transport_poll_makes_no_websocket(world):
    gateway = world.gateway()
    world.agent(gateway, "far")
    censor = Censor(world, gateway.port)
    near = behind(world, censor.url(), "--transport", "poll")
    echo_once(near.port())
    assert censor.seen == 0


def test_transport_websocket_makes_nothing_else(world):
    gateway = world.gateway()
    censor = Censor(world, gateway.port)
    censor.mode = "deny"
    near = world.agent(None, "near", url=censor.url(), options=["--transport", "websocket"],
                       wait=False)
    eventually(lambda: censor.seen >= 3)
    assert censor.requests == 0
    assert near.count("403") >= 2


def test_a_proxy_that_makes_no_connections_but_to_port_443(world):
    """It refuses CONNECT; plain requests it passes on."""
    gateway = world.gateway()
    world.agent(gateway, "far")
    proxy = Tinyproxy(world, has_login=False, lines="ConnectPort 443")
    near = behind(world, gateway.url(), "--proxy", proxy.url())
    near.wait_for(r"by WebSocket: the proxy .*\(403\).*; trying long poll", stream="err")
    echo_once(near.port())


@pytest.mark.parametrize("mode, said", [
    ("deny", "by WebSocket: .*403.*; trying long poll"),
    ("close", "registered as near at .*, by long poll, because WebSocket failed: the server closed"),
])
def test_an_upgrade_that_is_refused_or_not_answered(world, mode, said):
    gateway = world.gateway()
    world.agent(gateway, "far")
    censor = Censor(world, gateway.port)
    censor.mode = mode
    near = behind(world, censor.url())
    near.wait_for(said, stream="err")
    echo_once(near.port())
    assert censor.seen == 1


def test_websockets_that_are_cut_within_seconds(world):
    """A session outlives the cuts, the change to long poll, and the change back."""
    gateway = world.gateway()
    world.agent(gateway, "far")
    censor = Censor(world, gateway.port)
    censor.mode, censor.lifetime = "cut", 0.5
    near = behind(world, censor.url(), "--retry-preferred", "1")
    client = world.keep(connect(near.port()))
    for number in range(1000):
        say(client, b"%06d" % number)
        if censor.requests:
            break
        threading.Event().wait(0.02)
    assert censor.requests, "the agent has not gone on by long poll"
    assert censor.seen >= 3
    say(client, bytes(300000))
    censor.mode = "pass"
    near.wait_for("goes on over WebSocket", timeout=30.0, stream="err")
    say(client)
    requests = eventually(lambda: censor.requests)
    for number in range(50):
        say(client, b"%06d" % number)
    assert censor.requests <= requests + 1
    assert near.count("^registered as") == 1


def test_a_websocket_that_is_back_but_does_not_last(world):
    """One short life is enough then, and the session does not notice."""
    gateway = world.gateway()
    world.agent(gateway, "far")
    censor = Censor(world, gateway.port)
    censor.mode = "deny"
    near = behind(world, censor.url(), "--retry-preferred", "1")
    client = world.keep(connect(near.port()))
    say(client)
    since = near.mark()
    censor.mode = "pass"
    near.wait_for("goes on over WebSocket", timeout=30.0, since=since, stream="err")
    say(client)
    before = censor.requests
    seen = censor.seen
    censor.cut_all()
    eventually(lambda: censor.requests > before, message="the agent has not gone back to long poll")
    assert censor.seen == seen
    say(client)
    assert near.count("^registered as") == 1


def test_a_bulk_transfer_outlives_the_change(world):
    gateway = world.gateway()
    world.agent(gateway, "far")
    censor = Censor(world, gateway.port)
    censor.mode, censor.lifetime = "cut", 0.3
    near = behind(world, censor.url())
    echo_bulk(near.port(), 100 * MEGABYTE)
    eventually(lambda: censor.requests, message="the agent has not gone on by long poll")
    assert near.count("lost the connection to") == 3
    assert near.count("^registered as") == 1


def test_each_gateway_has_a_ladder_of_its_own(world):
    """Long poll at one says nothing about the other."""
    gateways = [world.gateway() for _ in range(2)]
    first, second = (Censor(world, gateway.port) for gateway in gateways)
    first.mode = "deny"
    agent = world.agent(None, "agent", url=first.url(), options=["--url", second.url()])
    assert first.requests > 0
    since = agent.mark()
    gateways[0].kill()
    agent.wait_registered(40.0, since=since)
    assert second.seen == 1 and second.requests == 0
