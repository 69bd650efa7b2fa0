"""Fixtures of the interoperation tests; the rest is in ../conftest.py."""

import shutil
import tempfile

import pytest

from culvert.world import World
from hubble.background import Background
from hubble.by_hand import Station
from programs import Programs
from waits import Waits

WAITS_MODULE = "test_interop_waits.py"


@pytest.fixture
def background(world):
    """Where a test's Python agents and proxies run."""
    return world.keep(Background())


@pytest.fixture
def programs(world, background):
    """Starts proxies and agents of every kind."""
    return Programs(world, background)


@pytest.fixture
def station(world):
    """A proxy that the test plays by hand."""
    return world.keep(Station())


@pytest.fixture(scope="session", autouse=True)
def waits(request, directory, authority):
    """Starts what takes long with the first test, if it is asked for at all."""
    if not any(item.path.name == WAITS_MODULE for item in request.session.items):
        yield None
        return
    path = tempfile.mkdtemp(dir=directory)
    world = World(path, authority)
    yield Waits(world)
    try:
        world.close()
    finally:
        shutil.rmtree(path, ignore_errors=True)
