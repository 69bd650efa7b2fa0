"""Fixtures of the interoperation tests; the rest is in ../conftest.py."""

import pytest

from hubble.background import Background
from hubble.by_hand import Station
from programs import Programs


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
