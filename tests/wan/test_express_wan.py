"""A keystroke does not wait for the transfers that go on beside it."""

import statistics
import time

import pytest

from crossing import Crossing, Echo, Traffic, answer
from culvert.peers import connect

pytestmark = pytest.mark.once

pytestmark = [pytest.mark.wan, pytest.mark.slow]

RATE = 50e6
MEASURED = 300  # echoes, and as many directly


def direct_echo(crossing):
    """The same questions across the same line, without a tunnel."""
    area = crossing.area
    with area.far.entered():
        server = crossing.world.server(answer, address=area.far.address)
    with area.near.entered():
        return Echo(crossing.world.keep(connect(server.port, area.far.address)))


def check_speed(tunnel, direct, sanitized):
    """While the transfers go on, which fill the line both ways."""
    start = time.monotonic()
    for echo in (tunnel, direct):
        echo.wait_for_trips(start, MEASURED)
    medians = [statistics.median(echo.trips(start)) for echo in (tunnel, direct)]
    print(f"\necho {medians[0] * 1000:.1f} ms, directly {medians[1] * 1000:.1f} ms")
    assert sanitized or medians[0] < 1.5 * medians[1]


@pytest.mark.parametrize("secure,loss", [(False, 0.5), (True, 0)])
def test_an_echo_beside_transfers(world, wide_area, secure, sanitized, loss):
    area = wide_area(round_trip=20, rate=RATE, queue=RATE / 8 * 0.02, loss=loss)
    crossing = Crossing(world, area, secure, options=("--transport", "websocket"))
    traffic = Traffic(crossing, 40 * 1000 * 1000)
    direct = direct_echo(crossing)
    traffic.begin()
    crossing.near_agent.wait_for("small messages to .* have a connection of their own",
                                 stream="err")
    check_speed(traffic.echo, direct, sanitized)
    assert traffic.progress() < 1, "it was over before"
    direct.finish()
    traffic.finish()
    crossing.check_nobody_registered_anew()
    assert crossing.told("link.lost") == []
