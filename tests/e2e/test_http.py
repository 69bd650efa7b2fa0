"""nginx, curl and iperf3 through the tunnel."""

import hashlib
import http.client
import json
import os

import pytest

from culvert.peers import in_parallel
from culvert.process import run
from culvert.services import ThroughputServer, WebServer

pytestmark = pytest.mark.once

PAGE = b"a small page\n"


@pytest.fixture(scope="module")
def web(services, large_file):
    return WebServer(services, large_file)


@pytest.fixture(scope="module")
def iperf(services):
    return ThroughputServer(services)


def test_curl_gets_a_page(world, web, secure):
    tunnel = world.tunnel(web.port, secure=secure)
    result = run(["curl", "-q", "-sS", "--noproxy", "*", f"http://localhost:{tunnel.port()}/small"],
                 check=True)
    assert result.stdout.encode() == PAGE


def test_a_large_download(world, web, secure, large_file):
    tunnel = world.tunnel(web.port, secure=secure)
    path = world.path("download")
    run(["curl", "-q", "-sS", "--noproxy", "*", "-o", path,
         f"http://127.0.0.1:{tunnel.port()}/large"], check=True)
    with open(path, "rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == large_file.checksum


def test_many_requests_on_kept_connections(world, web, secure):
    tunnel = world.tunnel(web.port, secure=secure)

    def client(_):
        connection = http.client.HTTPConnection("127.0.0.1", tunnel.port(), timeout=20)
        for _ in range(40):
            connection.request("GET", "/small")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, PAGE)
        connection.close()

    in_parallel(client, range(50))


def test_a_hundred_downloads_at_once(world, web, secure):
    tunnel = world.tunnel(web.port, secure=secure)
    run(["curl", "-q", "-sS", "--noproxy", "*", "--fail", "--parallel", "--parallel-immediate",
         "--parallel-max", "100", "-H", "Connection: close", "-H", "Range: bytes=0-499999",
         "-o", world.path("part_#1"), f"http://127.0.0.1:{tunnel.port()}/large?[1-100]"],
        check=True)
    parts = [world.path(f"part_{number}") for number in range(1, 101)]
    assert {os.path.getsize(part) for part in parts} == {500000}
    digests = set()
    for part in parts:
        with open(part, "rb") as file:
            digests.add(hashlib.file_digest(file, "sha256").digest())
    assert len(digests) == 1


@pytest.mark.slow
@pytest.mark.parametrize("options", [["-P", "1"], ["-P", "8"], ["-P", "4", "-R"]],
                         ids=["one-stream", "eight-streams", "reverse"])
def test_iperf3(world, iperf, secure, options, sanitized):
    tunnel = world.tunnel(iperf.port, secure=secure)
    result = run(["iperf3", "-c", "127.0.0.1", "-p", tunnel.port(), "-t", "1", "-J", *options],
                 timeout=40)
    report = json.loads(result.stdout)
    assert result.returncode == 0, report.get("error")
    rate = report["end"]["sum_received"]["bits_per_second"]
    assert rate > (10e6 if sanitized else 200e6), f"{rate / 1e6:.0f} Mbit/s"
