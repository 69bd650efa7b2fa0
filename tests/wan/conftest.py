"""Wide-area lines for the tests; the rest is in ../conftest.py."""

import os

import pytest

from culvert.world import BINARY
from wide_area import WideArea, missing

PROGRAM = os.path.join(os.path.dirname(BINARY), "tests", "wan", "wan_line")


@pytest.fixture(scope="session")
def program():
    """The program that plays the line, where this system lets it."""
    reason = missing()
    if reason:
        pytest.skip(f"no wide-area line here: {reason}")
    assert os.access(PROGRAM, os.X_OK), \
        f"build it first: ninja -C {os.path.dirname(BINARY)} tests/wan/wan_line"
    return PROGRAM


@pytest.fixture
def wide_area(program):
    """Makes lines for one test: `wide_area(round_trip=50, rate=100e6)`. See wide_area.py."""
    areas = []

    def make(**settings):
        areas.append(WideArea(program, **settings))
        return areas[-1]

    yield make
    for area in areas:
        area.close()


@pytest.fixture
def world(wide_area, world):
    """What it starts has ended before the lines do."""
    return world
