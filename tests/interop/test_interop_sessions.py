"""Sessions between agents of every kind through proxies of every kind, by real programs and bytes.

Kind `native` is an agent that was not told what to speak: culvert's own protocol with a gateway,
0.1 with a proxy that knows no other.
"""

import hashlib
import os
import types

import pytest

from culvert.peers import connect, expect_gone, in_parallel, receive_all, receive_exactly
from culvert.process import run
from culvert.services import SshServer, WebServer
from hubble.background import Background
from programs import PROXIES, Programs

SPEAKERS = ["native", "agent", "python"]
SMALL, LARGE = 500_000, 20_000_000

# Through which proxy, between which agents. The independent agents are slow, and culvert's two
# proxies are one program, so not everything goes every way.
WAYS = [(hub, near, far) for hub in PROXIES for near in SPEAKERS for far in SPEAKERS]
MAIN_WAYS = [way for way in WAYS if way[0] == "gateway" or way[1] == way[2]]
LARGE_WAYS = [way for way in WAYS
              if way[0] == "gateway" or (way[0] == "python" and "python" not in way[1:])]


def by_ways(ways):
    return pytest.mark.parametrize("hub,near,far", ways, indirect=["hub"],
                                   ids=["-".join(way) for way in ways])


@pytest.fixture(scope="module")
def content():
    return os.urandom(LARGE)


@pytest.fixture(scope="module")
def web(services, content):
    path = services.path("large")
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, 0o644)
    return WebServer(services, types.SimpleNamespace(path=path))


@pytest.fixture(scope="module")
def sshd(services):
    return SshServer(services)


@pytest.fixture(scope="module")
def source(services, content):
    """Told a number of bytes, it sends so many and closes."""

    def send(connection):
        size = int.from_bytes(receive_exactly(connection, 8), "big")
        connection.sendall(content[:size])

    return services.server(send)


@pytest.fixture(scope="module")
def sink(services):
    """Told a number of bytes, it takes so many and answers with their checksum."""

    def take(connection):
        left = int.from_bytes(receive_exactly(connection, 8), "big")
        digest = hashlib.sha256()
        while left > 0:
            data = connection.recv(min(left, 256 * 1024))
            if not data:
                return
            digest.update(data)
            left -= len(data)
        connection.sendall(digest.digest())
        connection.recv(1)

    return services.server(take)


class Hub:
    """A proxy with an agent of each kind that answers, and one of each kind that asks."""

    def __init__(self, world, kind, targets):
        self._targets = list(targets)
        programs = Programs(world, world.keep(Background()))
        proxy = programs.proxy(kind)
        names = {far: world.unique(f"far-{far}") for far in SPEAKERS}
        self._far = {far: programs.agent(far, proxy.url(), name) for far, name in names.items()}
        rules = [f"0:{names[far]}:127.0.0.1:{port}"
                 for far in SPEAKERS for port in targets.values()]
        self._near = {near: programs.agent(near, proxy.url(), world.unique(f"near-{near}"), *rules)
                      for near in SPEAKERS}

    def port(self, near, far, target):
        index = SPEAKERS.index(far) * len(self._targets) + self._targets.index(target)
        return self._near[near].port(index)


@pytest.fixture(scope="module", params=PROXIES)
def hub(request, services, web, sshd, source, sink):
    return Hub(services, request.param, {"web": web.port, "ssh": sshd.port,
                                         "source": source.port, "sink": sink.port})


def download(port, size, content):
    with connect(port) as client:
        client.sendall(size.to_bytes(8, "big"))
        received = receive_all(client)
    assert len(received) == size
    assert hashlib.sha256(received).digest() == hashlib.sha256(content[:size]).digest()


def upload(port, size, content):
    with connect(port) as client:
        client.sendall(size.to_bytes(8, "big"))
        client.sendall(content[:size])
        assert receive_exactly(client, 32) == hashlib.sha256(content[:size]).digest()


@by_ways(WAYS)
def test_curl(world, hub, near, far, content):
    """Two requests in one session."""
    url = f"http://127.0.0.1:{hub.port(near, far, 'web')}"
    page, part = world.path("page"), world.path("part")
    run(["curl", "-q", "-sS", "--fail", "--noproxy", "*", "-r", f"0-{SMALL - 1}", "-o", page,
         f"{url}/small", "-o", part, f"{url}/large"], check=True)
    with open(page, "rb") as file:
        assert file.read() == b"a small page\n"
    with open(part, "rb") as file:
        assert file.read() == content[:SMALL]


@by_ways(MAIN_WAYS)
def test_ssh(world, hub, near, far, sshd, content):
    path = world.path("upload")
    with open(path, "wb") as file:
        file.write(content[:SMALL])
    with open(path, "rb") as file:
        result = run(["ssh", *sshd.options(), "-p", hub.port(near, far, "ssh"), "localhost",
                      "sha256sum; exit 7"], stdin=file)
    assert result.stdout.split()[:1] == [hashlib.sha256(content[:SMALL]).hexdigest()]
    assert result.returncode == 7


@by_ways(WAYS)
def test_500_kilobytes_each_way(hub, near, far, content):
    download(hub.port(near, far, "source"), SMALL, content)
    upload(hub.port(near, far, "sink"), SMALL, content)


@by_ways(LARGE_WAYS)
def test_20_megabytes_each_way(hub, near, far, content):
    download(hub.port(near, far, "source"), LARGE, content)
    upload(hub.port(near, far, "sink"), LARGE, content)


@pytest.mark.threads
def test_many_sessions_at_once(hub, content):
    """All kinds side by side, both ways."""
    ways = [(near, far) for near in SPEAKERS for far in SPEAKERS]

    def session(number):
        near, far = ways[number % len(ways)]
        if number % 2:
            upload(hub.port(near, far, "sink"), 20_000, content)
        else:
            download(hub.port(near, far, "source"), 20_000, content)

    in_parallel(session, range(90))


@pytest.mark.parametrize("speaker", SPEAKERS)
@pytest.mark.parametrize("kind", PROXIES)
def test_agents_come_back_after_their_proxy(world, programs, kind, speaker):
    """It ends, and another takes its place, which does not know the sessions."""
    proxy = programs.proxy(kind)
    echo = world.echo_server()
    far = programs.agent(speaker, proxy.url(), "far")
    near = programs.agent(speaker, proxy.url(), "near", f"0:far:127.0.0.1:{echo.port}")
    marks = [(agent, agent.mark()) for agent in (far, near)]
    with connect(near.port()) as client:
        client.sendall(b"before")
        assert receive_exactly(client, 6) == b"before"
        proxy.kill()
        programs.proxy(kind, port=proxy.port)
        expect_gone(client)
    for agent, since in marks:
        agent.wait_registered(since=since)
    with connect(near.port()) as client:
        client.sendall(b"after")
        assert receive_exactly(client, 5) == b"after"
