"""What a gateway answers to load balancers, monitoring and browsers."""

import contextlib
import glob
import http.client
import os
import signal
import ssl

from culvert.peers import connect, receive_exactly
from culvert.process import eventually
from culvert.world import BINARY, Gateway, environment


def get(gateway, path, method="GET"):
    """The status and the body."""
    if gateway.authority:
        context = ssl.create_default_context(cafile=gateway.authority.certificate)
        connection = http.client.HTTPSConnection("localhost", gateway.port, timeout=10,
                                                 context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_gateway_that_serves(world, secure):
    gateway = world.gateway(secure=secure)
    assert get(gateway, "/healthz") == (200, "ok\n")
    assert get(gateway, "/readyz") == (200, "ok\n")
    assert get(gateway, "/healthz", "HEAD") == (200, "")
    status, page = get(gateway, "/")
    assert status == 200 and page.startswith("This is a culvert gateway.")
    assert get(gateway, "/other")[0] == 426
    assert get(gateway, "/healthz", "POST")[0] == 426


def test_a_gateway_that_drains(world):
    """It still listens, because an agent polls."""
    gateway = world.gateway("--drain", "60")
    url = f"poll+http://127.0.0.1:{gateway.port}"
    world.agent(None, "far", url=url)
    near = world.agent(None, "near", f"0:far:127.0.0.1:{world.echo_server().port}", url=url)
    with connect(near.port()) as client:
        client.sendall(b"x")
        assert receive_exactly(client, 1) == b"x"
        gateway.signal(signal.SIGTERM)
        gateway.wait_for("stopping; 1 session")
        eventually(lambda: get(gateway, "/readyz")[0] == 503, 30.0, "it is still ready")
        assert get(gateway, "/readyz") == (503, "the gateway is stopping\n")
        assert get(gateway, "/healthz") == (200, "ok\n")
        client.sendall(b"y")
        assert receive_exactly(client, 1) == b"y"
    assert gateway.wait(30.0) == 0


def test_a_gateway_that_cannot_read_its_store(world):
    gateway = world.gateway(is_open=False)
    gateway.add_key("someone")
    assert get(gateway, "/readyz")[0] == 200
    for path in glob.glob(os.path.join(gateway.data, "*")):
        with open(path, "r+b") as file:
            file.write(b"no database" * 1000)
    eventually(lambda: get(gateway, "/readyz")[0] == 503, 30.0, "it is still ready")
    assert get(gateway, "/readyz")[1] == "the gateway cannot read its store of keys\n"
    assert get(gateway, "/healthz") == (200, "ok\n")


def test_a_gateway_whose_script_has_no_process(world):
    """Processes that die as soon as they are there are replaced later and later."""
    script = world.write("policy.lua", "function connect() return true end\n")
    gateway = world.gateway("--auth-lua", script, "--lua-workers", "1", policy=None)
    assert get(gateway, "/readyz") == (200, "ok\n")

    def is_unready():
        for worker in gateway.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        return get(gateway, "/readyz")[0] == 503
    eventually(is_unready, 30.0, "it is still ready")
    eventually(lambda: get(gateway, "/readyz") == (200, "ok\n"), 30.0, "it is not ready again")
    assert get(gateway, "/healthz") == (200, "ok\n")


def test_hubble_proxy_answers_as_the_original(world):
    proxy = world.adopt(Gateway("hubble-proxy", [BINARY, "hubble-proxy", "-listen", "127.0.0.1:0"],
                                None, None, env=environment()))
    assert get(proxy, "/") == (400, "Bad Request\n")
    assert get(proxy, "/healthz") == (200, "ok\n")
