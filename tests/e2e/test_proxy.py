"""Agents that reach their gateway through a proxy: squid, tinyproxy, microsocks, one behind TLS."""

import base64
import re
import threading

import pytest

from culvert.peers import connect, echo_bulk, expect_session_reset, free_port, pass_on
from culvert.process import eventually
from culvert.proxies import (ENCODED, FORBIDDEN_PORT, PASSWORD, USER, Microsocks, SecureFront,
                             Squid, Tinyproxy)
from culvert.world import MEGABYTE, culvert, environment


@pytest.fixture(scope="module")
def basic(services):
    return Squid(services, "basic")


@pytest.fixture(scope="module")
def digest(services):
    return Squid(services, "digest")


@pytest.fixture(scope="module")
def ntlm(services):
    return Squid(services, "ntlm")


@pytest.fixture(scope="module")
def free(services):
    """Wants no login."""
    return Squid(services, "none")


@pytest.fixture(scope="module")
def tiny(services):
    return Tinyproxy(services)


@pytest.fixture(scope="module")
def socks(services):
    return Microsocks(services)


@pytest.fixture(scope="module")
def secured(services, basic):
    return SecureFront(services, basic)


def login_file(world, password=PASSWORD):
    return world.write(world.unique("login"), f"{USER}:{password}\n")


def carry(world, secure, proxy, *options, env=None, url=None, urls=("127.0.0.1", "127.0.0.1")):
    """A tunnel of which both agents go through the proxy, and 20 MB through it each way."""
    front = world.proxy(proxy.port)
    # At all addresses: a proxy may take localhost for ::1.
    gateway = world.gateway(secure=secure, listen=f":{free_port()}")
    server = world.echo_server()
    options = [url(front.port) if callable(url) else url] + list(options) if url else options
    options = ["--proxy", *options] if url else list(options)
    env = env(front.port) if callable(env) else env or environment()
    world.agent(gateway, "far", options=options, env=env, url=gateway.url(urls[0]))
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{server.port}", options=options, env=env,
                       url=gateway.url(urls[1]))
    assert front.accepted() >= 2, "the agents have not gone through the proxy"
    echo_bulk(near.port(), 20 * MEGABYTE)
    return near


@pytest.mark.parametrize("kind", ["basic", "digest", "ntlm"])
def test_squid(world, secure, kind, request):
    proxy = request.getfixturevalue(kind)
    carry(world, secure, proxy, "--proxy-user-file", login_file(world),
          url=lambda port: proxy.url(port=port))


@pytest.mark.parametrize("kind", ["digest", "ntlm"])
def test_long_poll_through_squid(world, kind, request):
    """NTLM logs a connection in, and each request may come on another."""
    proxy = request.getfixturevalue(kind)
    carry(world, False, proxy, "--proxy-user-file", login_file(world), "--transport", "poll",
          url=lambda port: proxy.url(port=port))


def test_tinyproxy(world, secure, tiny):
    carry(world, secure, tiny, url=lambda port: tiny.url(f"{USER}:{tiny.password}", port))


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_socks(world, secure, socks, scheme):
    carry(world, secure, socks, url=lambda port: socks.url(f"{USER}:{ENCODED}", port, scheme),
          urls=("localhost", "127.0.0.1"))


def test_a_proxy_behind_tls(world, secure, secured):
    carry(world, secure, secured, "--proxy-user", f"{USER}:{PASSWORD}", "--proxy-ca",
          world.authority.certificate, url=lambda port: secured.url(port=port))


def test_a_proxy_without_a_scheme_and_login(world, free):
    carry(world, False, free, url=lambda port: f"127.0.0.1:{port}")


@pytest.mark.parametrize("is_secure,name", [
    (False, "http_proxy"), (True, "https_proxy"), (True, "HTTPS_PROXY"), (False, "all_proxy"),
    (True, "ALL_PROXY")])
def test_the_environment(world, tiny, is_secure, name):
    carry(world, is_secure, tiny,
          env=lambda port: environment(**{name: tiny.url(f"{USER}:{tiny.password}", port)}))


@pytest.mark.parametrize("variables,options", [
    ({"HTTP_PROXY": "BROKEN"}, []),  # a web server's client may set that one
    ({"https_proxy": "BROKEN"}, []),
    ({"http_proxy": "BROKEN", "no_proxy": "example.com,127.0.0.0/8"}, []),
    ({"all_proxy": "BROKEN", "NO_PROXY": "*"}, []),
    ({"http_proxy": "BROKEN"}, ["--proxy", "none"]),
    ({"http_proxy": "BROKEN"}, ["--proxy="]),
])
def test_no_proxy_applies(world, variables, options):
    """A broken proxy in the way would show; and libcurl, which costs memory, is not even loaded."""
    broken = f"http://127.0.0.1:{free_port()}"
    env = environment(**{name: broken if value == "BROKEN" else value
                         for name, value in variables.items()})
    agent = world.agent(world.gateway(), "agent1", options=options, env=env)
    with open(f"/proc/{agent.pid}/maps", encoding="ascii") as maps:
        assert "libcurl" not in maps.read()


def test_the_option_goes_before_the_environment(world, free):
    env = environment(http_proxy=f"http://127.0.0.1:{free_port()}", no_proxy="*")
    carry(world, False, free, url=lambda port: free.url(port=port), env=env)


def told(world, gateway_url, *options, env=None):
    """What an agent that cannot register says first."""
    agent = world.bare_agent("agent1", "--url", gateway_url, "--name", "agent1", *options,
                             env=env or environment())
    agent.wait_for("cannot register", stream="err")
    assert "registered as" not in agent.output("out")
    for secret in (PASSWORD, ENCODED, "wrongword"):
        assert secret not in agent.output()
    return re.search(r"^.*agent: cannot (register at|reach) ws.*$", agent.output("err"), re.M)[0]


def test_no_login(world, basic, digest, tiny, socks):
    url = world.gateway().url()
    for proxy, method in ((basic, "Basic"), (digest, "Digest"), (tiny, "Basic"), (socks, "")):
        said = told(world, url, "--proxy", proxy.url())
        assert f"{proxy.url()} (--proxy) wants a user and a password" in said
        assert "--proxy-user-file" in said
        assert not method or f"(407, by {method})" in said


def test_a_wrong_login(world, basic, digest, tiny, socks):
    url = world.gateway().url()
    for proxy in (basic, digest, tiny, socks):
        said = told(world, url, "--proxy", proxy.url(f"{USER}:wrongword"))
        assert f'{proxy.url()} (--proxy) does not accept the user "{USER}"' in said


def test_the_environment_is_named(world, basic):
    said = told(world, world.gateway().url(), env=environment(http_proxy=basic.url()))
    assert f"{basic.url()} ($http_proxy) wants a user" in said


def test_what_a_proxy_forbids(world, free):
    said = told(world, f"ws://127.0.0.1:{FORBIDDEN_PORT}", "--proxy", free.url())
    assert "forbids" in said and "(403)" in said and "443" in said


def test_a_gateway_that_the_proxy_cannot_reach(world, free, tiny):
    for proxy, options in ((free, []), (tiny, ["--proxy-user", f"{USER}:{tiny.password}"]),
                           (Microsocks(world, has_login=False), [])):
        said = told(world, f"ws://127.0.0.1:{free_port()}", "--proxy", proxy.url(), *options)
        assert "cannot reach the gateway" in said and proxy.url() in said


def test_a_proxy_that_is_not_there(world):
    said = told(world, "ws://gateway.example", "--proxy", f"http://127.0.0.1:{free_port()}")
    assert "cannot be reached: Connection refused; check --proxy" in said
    said = told(world, "ws://gateway.example", "--proxy", "http://proxy.invalid:3128")
    assert "its name cannot be resolved; check --proxy" in said


def answering(world, answer):
    """A proxy that answers each request so and closes."""

    def handle(connection):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(4096)
            if not piece:
                return
            data += piece
        connection.sendall(answer)

    return f"http://127.0.0.1:{world.server(handle).port}"


def test_a_proxy_that_closes_or_talks_nonsense(world):
    closing = world.server(lambda connection: None)
    said = told(world, "ws://gateway.example", "--proxy", f"http://127.0.0.1:{closing.port}")
    assert "closed the connection without an answer" in said
    said = told(world, "ws://gateway.example", "--proxy", f"socks5h://127.0.0.1:{closing.port}")
    assert "the proxy socks5h://" in said and "check --proxy" in said
    said = told(world, "ws://gateway.example", "--proxy", answering(world, b"SSH-2.0-x\r\n\r\n"))
    assert "the proxy http://" in said
    said = told(world, "ws://gateway.example", "--proxy",
                answering(world, b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\n"
                                 b"Content-Length: 0\r\n\r\n"))
    assert "answered CONNECT with the status 302" in said


def test_a_proxy_whose_certificate_is_not_known(world, secured):
    said = told(world, "ws://gateway.example", "--proxy", secured.url())
    assert "cannot be verified" in said and "--proxy-ca" in said


def test_who_is_not_logged_in_to_kerberos_uses_the_password(world):
    """A proxy that offers Negotiate first, as Windows' do."""
    gateway = world.gateway()
    wanted = base64.b64encode(f"{USER}:{PASSWORD}".encode())

    def handle(connection):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(4096)
            if not piece:
                return
            data += piece
        if b"Basic " + wanted not in data:
            connection.sendall(b"HTTP/1.1 407 no\r\nProxy-Authenticate: Negotiate\r\n"
                               b"Proxy-Authenticate: Basic realm=\"x\"\r\n"
                               b"Content-Length: 0\r\nConnection: close\r\n\r\n")
            return
        with connect(gateway.port) as far:
            connection.sendall(b"HTTP/1.1 200 yes\r\n\r\n")
            back = threading.Thread(target=pass_on, args=(far, connection), daemon=True)
            back.start()
            pass_on(connection, far)
            back.join()

    proxy = world.server(handle)
    world.agent(gateway, "agent1", options=["--proxy", f"http://127.0.0.1:{proxy.port}",
                                            "--proxy-user-file", login_file(world)])


def test_a_silent_proxy_does_not_hold_up_the_end(world):
    silent = world.server()
    agent = world.bare_agent("agent1", "--url", "ws://gateway.example", "--name", "agent1",
                             "--proxy", f"http://127.0.0.1:{silent.port}")
    silent.accept()
    assert agent.stop() == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_gateway_is_not_dialled_and_the_proxy_may_be(world, host):
    proxy = Tinyproxy(world, has_login=False)
    gateway = world.gateway()
    world.agent(gateway, "far", url=gateway.url(host),
                options=["--proxy", proxy.url(), "--allow", "*"])
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{gateway.port}",
                       f"0:far:localhost:{gateway.port}", f"0:far:127.0.0.1:{proxy.port}")

    expect_session_reset(near.port(0))
    expect_session_reset(near.port(1))
    with connect(near.port(2)) as client:
        client.sendall(b"GET http://127.0.0.1:1/ HTTP/1.0\r\n\r\n")
        assert client.recv(8) == b"HTTP/1.0"


def test_a_lost_link_comes_back_through_the_proxy(world, secured):
    front = world.proxy(secured.port)
    gateway = world.gateway()
    agent = world.agent(gateway, "agent1", options=[
        "--proxy", secured.url(port=front.port), "--proxy-ca", world.authority.certificate,
        "--proxy-user-file", login_file(world), "--transport", "websocket"])
    descriptors = agent.descriptors()
    for count in range(1, 7):
        # A TLS session of which nothing can be sent any more ends in another way.
        (front.reset if count % 2 else front.cut)()
        eventually(lambda count=count: agent.count("resumed the link") >= count,
                   message="the agent has not come back")
    assert agent.descriptors() <= descriptors + 2, "descriptors leak"


def test_the_password_is_not_in_the_list_of_processes(world, basic):
    agent = world.agent(world.gateway(), "agent1", options=[
        "--proxy", basic.url(), "--proxy-user-file", login_file(world)])
    with open(f"/proc/{agent.pid}/cmdline", "rb") as file:
        assert PASSWORD.encode() not in file.read()
    shared = world.write("shared", f"{USER}:{PASSWORD}\n", mode=0o644)
    result = culvert("agent", "--url", "ws://localhost", "--name", "a", "--proxy", basic.url(),
                     "--proxy-user-file", shared)
    assert result.returncode == 1 and "all users may read it" in result.stderr
    assert PASSWORD not in result.stderr


def test_a_key_does_not_cross_the_network_to_a_proxy(world):
    key = world.write("key", "cvk_secret\n")
    words = ["agent", "--url", "ws://localhost:1", "--name", "a", "--key-file", key]
    result = culvert(*words, "--proxy", "http://192.0.2.1:3128")
    assert result.returncode == 2 and "in clear" in result.stderr


def test_wrong_words(world):
    for value, wrong in (("ftp://proxy", "socks5h"), ("http://", "host is missing"),
                         ("http://proxy:0", "port"), ("http://u:wrongword%@proxy", "%25")):
        result = culvert("agent", "--url", "ws://localhost", "--name", "a", "--proxy", value)
        assert result.returncode == 2 and wrong in result.stderr
        assert "wrongword" not in result.stderr
    result = culvert("agent", "--url", "wss://gateway.example", "--name", "a",
                     env=environment(https_proxy="ftp://u:wrongword@proxy"))
    assert result.returncode == 2 and "$https_proxy: a proxy is" in result.stderr
    assert "wrongword" not in result.stderr
