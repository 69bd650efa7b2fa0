"""Fixtures of the end-to-end tests, a bound on each test's time, and output of what failed."""

import hashlib
import os
import resource
import shutil
import signal
import sys
import tempfile

import pytest

# The harness, for the tests beside its folder too.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "e2e"))

from culvert.certificates import Authority
from culvert.world import BINARY, World, is_sanitized

TEST_SECONDS = 180


def pytest_configure():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pytest_sessionstart():
    if not os.access(BINARY, os.X_OK):
        pytest.exit(f"{BINARY} is not there: build it first, or set $CULVERT", returncode=2)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """No test hangs for ever."""
    marker = item.get_closest_marker("limit")
    seconds = marker.args[0] if marker else TEST_SECONDS

    def too_long(*_):
        raise AssertionError(f"{item.nodeid} took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    """A failed test's report carries the output of what it had started."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and report.when in ("setup", "call"):
        for world in World.living:
            report.sections.append(("processes", world.report()))


@pytest.fixture(scope="session")
def directory():
    """A directory for the whole run, which servers under other users may enter."""
    path = tempfile.mkdtemp(prefix="culvert-e2e-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def authority(directory):
    return Authority(os.path.join(directory, "authority"))


@pytest.fixture(scope="session")
def sanitized():
    """Whether the binary under test carries a sanitizer."""
    return is_sanitized()


@pytest.fixture
def world(directory, authority):
    """An empty world for one test."""
    path = tempfile.mkdtemp(dir=directory)
    one = World(path, authority)
    yield one
    try:
        one.close()
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def services(directory, authority):
    """A world for the services that the tests of a module share."""
    path = tempfile.mkdtemp(dir=directory)
    os.chmod(path, 0o755)
    one = World(path, authority)
    yield one
    try:
        one.close()
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(params=["ws", "wss"])
def secure(request):
    """Every way once plain and once with TLS."""
    return request.param == "wss"


class LargeFile:
    """A file of random bytes and its checksum."""

    def __init__(self, path, size):
        self.path = path
        self.size = size
        digest = hashlib.sha256()
        with open(path, "wb") as file:
            for _ in range(size // (1024 * 1024)):
                piece = os.urandom(1024 * 1024)
                digest.update(piece)
                file.write(piece)
        os.chmod(path, 0o644)
        self.checksum = digest.hexdigest()


@pytest.fixture(scope="session")
def large_file(directory):
    """200 MB."""
    return LargeFile(os.path.join(directory, "large"), 200 * 1024 * 1024)
