"""The gateway's TLS and how an agent verifies it."""

import contextlib
import os
import shutil
import signal
import socket
import ssl

import pytest

from culvert.certificates import Authority, Certificate
from culvert.fronts import Nginx
from culvert.peers import connect, echo_once, receive_exactly
from culvert.process import eventually, run


def served_certificate(gateway):
    """The DER bytes of what the gateway shows."""
    context = ssl.create_default_context(cafile=gateway.authority.certificate)
    with connect(gateway.port) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as secured:
            return secured.getpeercert(binary_form=True)


def agent_is_told(world, gateway, pattern, *options, url=None):
    """An agent that must not register says why."""
    agent = world.bare_agent("agent1", "--url", url or gateway.url(), "--name", "agent1", *options)
    agent.wait_for(pattern, stream="err")
    assert "registered as" not in agent.output("out")
    return agent


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_verified_gateway(world, host):
    gateway = world.gateway(secure=True)
    world.agent(gateway, "agent1", url=gateway.url(host))


def test_an_authority_that_is_not_known(world):
    agent_is_told(world, world.gateway(secure=True), "certificate")


def test_a_certificate_for_another_host(world):
    certificate = world.authority.issue("other", subjects=("DNS:other.example", "IP:192.0.2.1"))
    gateway = world.gateway(secure=True, certificate=certificate)
    for host in ("127.0.0.1", "localhost"):
        agent_is_told(world, gateway, rf"certificate.*{host}|{host}.*certificate", "--ca",
                      world.authority.certificate, url=gateway.url(host))


def test_an_expired_certificate(world):
    certificate = world.authority.issue("expired", expired=True)
    gateway = world.gateway(secure=True, certificate=certificate)
    agent_is_told(world, gateway, "expired", "--ca", world.authority.certificate)


def test_insecure_accepts_any(world):
    for number, certificate in enumerate([
            world.authority.issue("bad-host", subjects=("DNS:other.example",)),
            world.authority.issue("old", expired=True)]):
        gateway = world.gateway(secure=True, certificate=certificate)
        world.agent(gateway, f"agent{number}", options=["--insecure"])


def test_a_plain_agent_at_a_secure_gateway(world):
    gateway = world.gateway(secure=True)
    agent_is_told(world, gateway, "127.0.0.1", url=f"ws://127.0.0.1:{gateway.port}")
    world.agent(gateway, "good")


def test_a_secure_agent_at_a_plain_gateway(world):
    gateway = world.gateway()
    agent_is_told(world, gateway, "TLS|SSL", "--ca", world.authority.certificate,
                  url=f"wss://127.0.0.1:{gateway.port}")
    world.agent(gateway, "good")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_are_refused(world):
    gateway = world.gateway(secure=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with connect(gateway.port) as plain, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(plain)
    context.maximum_version = context.minimum_version = ssl.TLSVersion.TLSv1_2
    with connect(gateway.port) as plain, context.wrap_socket(plain) as secured:
        assert secured.version() == "TLSv1.2"


def test_a_client_that_never_finishes_its_handshake_harms_nobody(world):
    gateway = world.gateway(secure=True, threads=1)
    for _ in range(200):
        world.keep(connect(gateway.port)).sendall(b"\x16\x03\x01\x02\x00")
    world.agent(gateway, "agent1").wait_registered()


def test_tls_garbage(world):
    gateway = world.gateway(secure=True)
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 1000, os.urandom(5000),
                    b"\x16\x03\x01\xff\xff" + b"\x01" * 70000):
        with connect(gateway.port) as client:
            try:
                client.sendall(garbage)
                with contextlib.suppress(OSError):  # the gateway may have ended it by now
                    client.shutdown(socket.SHUT_WR)
                while client.recv(4096):
                    pass
            except (ConnectionResetError, BrokenPipeError):
                pass
    world.agent(gateway, "agent1")


def reloading_gateway(world):
    """A secure gateway whose certificate's files may be replaced."""
    current = world.authority.issue(world.unique("reload"))
    return world.gateway(secure=True, certificate=current), current


def replace(certificate, new):
    shutil.copy(new.certificate, certificate.certificate)
    shutil.copy(new.key, certificate.key)
    os.chmod(certificate.key, 0o600)


def test_reload_of_the_certificate(world):
    gateway, current = reloading_gateway(world)
    server = world.echo_server()
    tunnel = world.tunnel(server.port, gateway=gateway)
    client = tunnel.connect()
    old = served_certificate(gateway)
    replace(current, world.authority.issue("renewed"))
    assert served_certificate(gateway) == old
    gateway.signal(signal.SIGHUP)
    eventually(lambda: served_certificate(gateway) != old, message="the old certificate is served")
    client.sendall(b"still here")
    assert receive_exactly(client, 10) == b"still here"
    assert tunnel.near.count("^registered as") == tunnel.far.count("^registered as") == 1
    world.agent(gateway, "another")
    tunnel.check()


def test_reload_of_a_broken_certificate(world):
    """The old one stays in use, and the log says why."""
    gateway, current = reloading_gateway(world)
    old = served_certificate(gateway)
    with open(current.certificate, "w", encoding="ascii") as file:
        file.write("broken\n")
    since = gateway.mark()
    gateway.signal(signal.SIGHUP)
    gateway.wait_for(os.path.basename(current.certificate), since=since, stream="err")
    assert served_certificate(gateway) == old


def test_sighup_without_tls_harms_nothing(world):
    tunnel = world.tunnel(world.echo_server().port)
    tunnel.gateway.signal(signal.SIGHUP)
    echo_once(tunnel.port())
    assert tunnel.gateway.is_running()


# ---- what an agent says about the wrong scheme, and about certificates ----

@pytest.mark.parametrize("scheme,hint", [
    ("ws", r"does the server expect TLS \(wss://\)"),
    ("poll+http", r"does the server expect TLS \(poll\+https://\)"),
])
def test_a_plain_url_to_a_port_with_tls(world, scheme, hint):
    gateway = world.gateway(secure=True)
    agent_is_told(world, gateway, hint, url=f"{scheme}://127.0.0.1:{gateway.port}")


def test_a_plain_url_to_a_port_with_tls_is_one_line_a_round(world):
    """Both transports fail for the same reason."""
    gateway = world.gateway(secure=True)
    agent = agent_is_told(world, gateway, r"does the server expect TLS \(wss://\)",
                          url=f"ws://127.0.0.1:{gateway.port}")
    eventually(lambda: agent.count("cannot register at") > 2)
    assert agent.count("trying long poll") == 0


@pytest.mark.once
def test_an_agent_of_hubble_at_a_gateway_that_serves_none(world):
    gateway = world.gateway()
    agent = agent_is_told(world, gateway, "HTTP 400; a culvert gateway serves them with "
                          "--legacy hubble", "--dialect", "hubble")
    assert agent.count("expect TLS") == 0


def test_a_plain_url_to_a_web_server_with_tls(world):
    front = Nginx(world, world.gateway(), "", secure=True)
    agent_is_told(world, None, r"HTTP 400 .*does the server expect TLS \(wss://\)", "--transport",
                  "websocket", url=f"ws://127.0.0.1:{front.port}")


@pytest.mark.parametrize("scheme", ["wss", "poll+https"])
def test_a_certificate_that_no_known_authority_has_signed(world, scheme):
    gateway = world.gateway(secure=True)
    agent_is_told(world, gateway, r"unknown CA.*give that CA's certificate with --ca FILE",
                  url=f"{scheme}://localhost:{gateway.port}")


@pytest.mark.parametrize("scheme", ["wss", "poll+https"])
def test_a_certificate_that_the_given_authority_has_not_signed(world, scheme):
    """There is no advice to give --ca, which was given."""
    gateway = world.gateway(secure=True)
    other = Authority(world.path(world.unique("authority")))
    agent = agent_is_told(
        world, None, rf"unknown CA.*; it is not signed by a CA in {other.certificate} \(--ca\)",
        "--ca", other.certificate, url=f"{scheme}://localhost:{gateway.port}")
    assert agent.count("--ca FILE") == 0


@pytest.mark.parametrize("scheme", ["wss", "poll+https"])
def test_a_certificate_that_is_self_signed(world, scheme):
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "30", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", world.path("own.key"), "-out",
         world.path("own.pem")], check=True)
    os.chmod(world.path("own.key"), 0o600)
    gateway = world.gateway(secure=True, certificate=Certificate(world.path("own.pem"),
                                                                 world.path("own.key")))
    agent_is_told(world, gateway, "is self-signed .*give it with --ca FILE",
                  url=f"{scheme}://localhost:{gateway.port}")


def test_a_gateway_warns_of_its_expired_certificate(world):
    certificate = world.authority.issue("old", expired=True)
    gateway = world.gateway(secure=True, certificate=certificate)
    said = r"WARNING .*the certificate in \S+old.pem expired on 2021-01-01; agents will refuse it"
    gateway.wait_for(said, stream="err")
    since = gateway.mark()
    gateway.signal(signal.SIGHUP)
    gateway.wait_for(said, since=since, stream="err")


def test_a_gateway_does_not_warn_of_a_good_certificate(world):
    gateway = world.gateway(secure=True)
    world.agent(gateway, "agent1")
    assert "certificate" not in gateway.output("err")
