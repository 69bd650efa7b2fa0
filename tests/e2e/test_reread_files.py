"""Files that are read again: keys, logins, certificate authorities and tokens that change while an
agent runs; SIGHUP; and files as editors on Windows save them."""

import base64
import http.client
import os
import re
import signal
import ssl
import threading

import pytest

from culvert.certificates import Authority
from culvert.peers import Server, connect, echo_once, free_port, receive_exactly
from culvert.process import eventually
from culvert.proxies import Splice
from culvert.world import culvert, environment

MARK = "\ufeff"


def put(path, content):
    """Replaces a file in one step, as rotation tools do."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(content)
    os.chmod(file.name, 0o600)
    os.rename(file.name, path)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


# ---- a key ----

def test_a_rotated_key_is_read_again(world):
    server = world.echo_server()
    gateway = world.gateway("--resume-window", "0", is_open=False)
    world.agent(gateway, "far", key=gateway.add_key("far"))
    path = world.write("near.key", gateway.add_key("near") + "\n")
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{server.port}",
                       options=("--key-file", path))
    since = near.mark()
    put(path, re.search(r"cvk_\S+", gateway.key("rotate", "near", "--grace", "1s").stdout)[0])
    near.wait_registered(30.0, since=since)
    echo_once(near.port())


@pytest.mark.once
def test_an_agent_with_a_rotated_key_stays_at_its_gateway(world):
    """The end of the old key ends the link; the key file has the new one, and the same gateway
    takes it."""
    first = world.gateway(is_open=False)
    second = world.gateway()
    path = world.write("near.key", first.add_key("near") + "\n")
    near = world.agent(first, "near", options=("--key-file", path, "--url", second.url()))
    since = near.mark()
    put(path, re.search(r"cvk_\S+", first.key("rotate", "near", "--grace", "4s").stdout)[0])
    near.wait_for("^registered as near at", since=since, stream="out")
    assert near.count(f"^registered as near at {first.url()}$") == 2
    assert near.count(f"at {second.url()}$") == 0


def test_sessions_outlive_a_key_whose_successor_was_read(world):
    """SIGHUP makes the agent resume its link with the new key, before the old one expires."""
    server = world.echo_server()
    gateway = world.gateway(is_open=False)
    world.agent(gateway, "far", key=gateway.add_key("far"))
    path = world.write("near.key", gateway.add_key("near") + "\n")
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{server.port}",
                       options=("--key-file", path))
    client = world.keep(connect(near.port()))
    client.sendall(b"before")
    assert receive_exactly(client, 6) == b"before"
    put(path, re.search(r"cvk_\S+", gateway.key("rotate", "near", "--grace", "3s").stdout)[0])
    near.signal(signal.SIGHUP)
    gateway.wait_for("link.resumed .*agent=near")
    eventually(lambda: gateway.key("list").stdout.count("near ") == 1,
               message="the old key does not expire")
    client.sendall(b"behind")
    assert receive_exactly(client, 6) == b"behind"
    assert gateway.count("agent.unregistered") == 0


def test_a_wrong_key_file_is_told_and_the_old_key_kept(world):
    gateway = world.gateway("--resume-window", "0", is_open=False)
    proxy = world.proxy(gateway.port)
    key = gateway.add_key("near")
    path = world.write("near.key", key)
    near = world.agent(gateway, "near", url=f"ws://127.0.0.1:{proxy.port}",
                       options=("--key-file", path))
    put(path, "two words")
    since = near.mark()
    proxy.cut()
    near.wait_for("--key-file: .*holds no key.*keeps what the file held before", since=since)
    near.wait_registered(since=since)


# ---- authorities ----

def test_authorities_may_change_while_an_agent_dials(world):
    """SIGHUP reads --ca while a proxy keeps the agent waiting; the try goes on with what it had."""
    gateway = world.gateway(secure=True)
    proxy = world.keep(Server())
    agent = world.agent(None, "near", wait=False,
                        url=f"wss://localhost:{gateway.port}",
                        options=("--ca", world.authority.certificate, "--transport", "websocket",
                                 "--proxy", f"http://127.0.0.1:{proxy.port}"),
                        env=environment(MALLOC_PERTURB_="165"))
    asked = proxy.accept()
    assert asked.recv(4096).startswith(b"CONNECT ")
    agent.signal(signal.SIGHUP)
    agent.wait_for("--ca: read ")
    Splice(asked, world.keep(connect(gateway.port)), is_asked=True)
    agent.wait_registered()



@pytest.mark.parametrize("transport", ["websocket", "poll"])
def test_a_renewed_authority_is_read_again(world, transport):
    port = free_port()
    options = {"secure": True, "listen": f"127.0.0.1:{port}"}
    first = world.gateway("--resume-window", "0", **options)
    path = world.write("ca.pem", read(world.authority.certificate))
    agent = world.agent(None, "a", url=f"wss://127.0.0.1:{port}",
                        options=("--ca", path, "--transport", transport))
    since = agent.mark()
    first.kill()
    other = Authority(world.path("other"))
    world.gateway("--resume-window", "0", certificate=other.issue("renewed"), **options)
    agent.wait_for("certificate", 30.0, since=since, stream="err")
    put(path, read(other.certificate))
    agent.wait_registered(40.0, since=since)


class LoginProxy:
    """An HTTP proxy (CONNECT) that wants a login, over TLS if it has a context."""

    def __init__(self, world, login, context=None):
        self.login = login
        self.context = context
        self.refused = 0
        self.server = world.keep(Server(self._serve))
        self.port = self.server.port

    def _serve(self, plain):
        near = plain if self.context is None else self.context.wrap_socket(plain, server_side=True)
        while True:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = near.recv(65536)
                if not piece:
                    return
                head += piece
            wanted = base64.b64encode(self.login.encode())
            if b"Proxy-Authorization: Basic " + wanted + b"\r\n" in head:
                break
            self.refused += b"Proxy-Authorization" in head
            near.sendall(b"HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm=\"x\"\r\n"
                         b"Content-Length: 0\r\n\r\n")
        with connect(int(head.split()[1].rpartition(b":")[2])) as far:
            near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=self._copy, args=(far, near), daemon=True)
            back.start()
            self._copy(near, far)
            back.join()

    @staticmethod
    def _copy(source, sink):
        source.settimeout(None)
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(2)
        except OSError:
            pass


def test_a_proxys_new_password_is_read_again(world):
    port = free_port()
    gateway = world.gateway("--resume-window", "0", listen=f"127.0.0.1:{port}")
    proxy = LoginProxy(world, "bob:one")
    path = world.write("login", "bob:one\n")
    agent = world.agent(gateway, "a", options=(
        "--proxy", f"http://127.0.0.1:{proxy.port}", "--proxy-user-file", path))
    since = agent.mark()
    proxy.login = "bob:two"
    gateway.kill()
    world.gateway("--resume-window", "0", listen=f"127.0.0.1:{port}")
    eventually(lambda: proxy.refused > 0, 30.0, "the agent did not come back with the old password")
    put(path, "bob:two\n")
    agent.wait_registered(40.0, since=since)


def test_a_proxys_new_authority_is_read_again(world):
    def context(certificate):
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(certificate.certificate, certificate.key)
        return made
    port = free_port()
    gateway = world.gateway("--resume-window", "0", listen=f"127.0.0.1:{port}")
    proxy = LoginProxy(world, "bob:one", context(world.authority.issue("proxy")))
    path = world.write("proxy-ca.pem", read(world.authority.certificate))
    agent = world.agent(gateway, "a", options=(
        "--proxy", f"https://bob:one@127.0.0.1:{proxy.port}", "--proxy-ca", path))
    since = agent.mark()
    other = Authority(world.path("other"))
    proxy.context = context(other.issue("renewed"))
    put(path, read(other.certificate))
    gateway.kill()
    world.gateway("--resume-window", "0", listen=f"127.0.0.1:{port}")
    agent.wait_registered(40.0, since=since)


# ---- the API's token ----

def ask(agent, token):
    """The status of an answer."""
    where = agent.wait_for(r"^api on http://(\S+)$", stream="out")[1]
    connection = http.client.HTTPConnection(where, timeout=10)
    connection.request("GET", "/v1/status", headers={"Authorization": f"Bearer {token}"})
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_new_token_is_taken_at_once(world):
    gateway = world.gateway()
    path = world.write("token", "one\n")
    agent = world.agent(gateway, "a", options=("--api", "127.0.0.1:0", "--api-token-file", path))
    assert (ask(agent, "one"), ask(agent, "two")) == (200, 401)
    put(path, "two\n")
    assert (ask(agent, "one"), ask(agent, "two")) == (401, 200)
    put(path, "no token\n")
    assert (ask(agent, "two"), ask(agent, "no token")) == (200, 401)
    agent.wait_for("the API's token: .*the token that was read before stays valid")
    os.unlink(path)
    assert ask(agent, "two") == 200


# ---- SIGHUP ----

def test_sighup_reads_all_files_and_ends_nothing(world):
    server = world.echo_server()
    gateway = world.gateway(secure=True, is_open=False)
    far = world.agent(gateway, "far", key=gateway.add_key("far"))
    key = world.write("near.key", gateway.add_key("near"))
    ca = world.write("ca.pem", read(world.authority.certificate))
    token = world.write("token", "one")
    near = world.agent(None, "near", f"0:far:127.0.0.1:{server.port}", url=gateway.url(), options=(
        "--key-file", key, "--ca", ca, "--api", "127.0.0.1:0", "--api-token-file", token))
    client = world.keep(connect(near.port()))
    for _ in range(3):
        client.sendall(b"x")
        assert receive_exactly(client, 1) == b"x"
        since = near.mark()
        for agent in (near, far):
            agent.signal(signal.SIGHUP)
        for read_again in (f"--key-file: read {key} again", f"--ca: read {ca} again",
                           f"the API's token in {token} again"):
            near.wait_for(re.escape(read_again), since=since)
    client.sendall(b"y")
    assert receive_exactly(client, 1) == b"y"
    assert near.is_running() and far.is_running()
    assert near.count("registered as") == 1


# ---- as Windows saves it ----

@pytest.mark.parametrize("mark", ["", MARK], ids=["plain", "mark"])
def test_files_with_crlf(world, mark):
    server = world.echo_server()
    gateway = world.gateway(is_open=False)
    world.agent(gateway, "far", key=gateway.add_key("far"))
    key = world.write("near.key", f"{mark}{gateway.add_key('near')}\r\n")
    token = world.write("token", f"{mark}one\r\n")
    forwards = world.write("forwards", f"""{mark}[{{"local": 0, "gateway": "far",\r
        "ip": "127.0.0.1", "remote": {server.port}}}]\r\n""")
    agent = world.agent(gateway, "near", options=(
        "--key-file", key, "--forwards", forwards, "--api", "127.0.0.1:0",
        "--api-token-file", token))
    echo_once(agent.port())
    assert ask(agent, "one") == 200


@pytest.mark.parametrize("transport", ["websocket", "poll"])
def test_certificates_with_a_mark_and_crlf(world, transport):
    def saved(path):
        return world.write(world.unique("saved"), MARK + read(path).replace("\n", "\r\n"))
    certificate = world.authority.issue("saved")
    certificate.certificate = saved(certificate.certificate)
    certificate.key = saved(certificate.key)
    gateway = world.gateway(secure=True, certificate=certificate)
    world.agent(None, "a", url=gateway.url(), options=(
        "--ca", saved(world.authority.certificate), "--transport", transport))


def test_rules_with_a_mark_and_crlf(world):
    rules = world.write("rules", f"{MARK}allow * -> * * *\r\ndeny * -> * * 22\r\n")
    result = culvert("acl", "check", rules)
    assert result.returncode == 0, result.stderr
