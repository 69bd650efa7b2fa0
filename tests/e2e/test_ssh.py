"""OpenSSH through the tunnel."""

import hashlib
import os

import pytest

from culvert.process import run
from culvert.services import SshServer

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def sshd(services):
    return SshServer(services)


def checksum(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_a_login_runs_a_command(world, sshd, secure):
    tunnel = world.tunnel(sshd.port, secure=secure)
    result = run(["ssh", *sshd.options(), "-p", tunnel.port(), "localhost",
                  "echo out; echo err >&2; exit 7"])
    assert (result.stdout, result.stderr, result.returncode) == ("out\n", "err\n", 7)


def test_standard_input_ends_at_the_far_side(world, sshd, secure):
    tunnel = world.tunnel(sshd.port, secure=secure)
    with open(__file__, "rb") as source:
        result = run(["ssh", *sshd.options(), "-p", tunnel.port(), "localhost", "sha256sum"],
                     stdin=source)
    assert result.stdout.split()[:1] == [checksum(__file__)], result.stderr


@pytest.mark.slow
def test_scp_of_200_megabytes_and_back(world, sshd, secure, large_file):
    tunnel = world.tunnel(sshd.port, secure=secure)
    there, back = world.path("there"), world.path("back")
    scp = ["scp", "-q", *sshd.options(), "-P", tunnel.port()]
    run([*scp, large_file.path, f"localhost:{there}"], timeout=60, check=True)
    assert checksum(there) == large_file.checksum
    run([*scp, f"localhost:{there}", back], timeout=60, check=True)
    assert checksum(back) == large_file.checksum
    os.unlink(there)
    os.unlink(back)
