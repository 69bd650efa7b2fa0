"""Sessions do not notice what happens to the carrier under them.

Each test carries 500 MB in each direction with a checksum at both ends, and an echo beside it. Times
are printed: pytest -s shows them.
"""

import statistics
import threading
import time

import pytest

from crossing import Crossing, Task, Traffic
from culvert.process import eventually

pytestmark = [pytest.mark.wan, pytest.mark.slow]

CUTS = 50
SILENT = 20.0
AWAY = 10.0
NAT_ADDRESS, OTHER_ADDRESS = "198.18.0.5", "198.18.0.9"


@pytest.fixture
def size(sanitized):
    """Bytes of each transfer."""
    return (50 if sanitized else 500) * 1000 * 1000


def idle(seconds):
    """The world goes on meanwhile: the length of a fault."""
    threading.Event().wait(seconds)


def report(what, traffic, took, times):
    """What pytest -s shows."""
    total = (traffic.up.size + traffic.down.size) / 1e6
    print(f"\n{what}: {total:.0f} MB in {took:.1f} s ({8 * total / took:.0f} Mbit/s), echo "
          f"{traffic.echo.round_trip() * 1000:.1f} ms; flowing again after "
          f"{min(times):.3f} / {statistics.median(times):.3f} / {max(times):.3f} s "
          f"(least, median, most of {len(times)})")


@pytest.mark.limit(120)
@pytest.mark.parametrize("scheme,transport,cuts", [
    ("ws", "websocket", CUTS), ("wss", "websocket", CUTS), ("wss", "auto", CUTS // 5)])
def test_a_carrier_that_is_reset_fifty_times(world, wide_area, size, sanitized, scheme, transport,
                                             cuts):
    """Both agents' carriers at the same moment. With `auto` they go on by long poll before long."""
    area = wide_area(round_trip=10)
    crossing = Crossing(world, area, scheme == "wss", agent2="near",
                        options=("--transport", transport))
    traffic = Traffic(crossing, size * cuts // CUTS)
    gateway, near = crossing.gateway, crossing.near_agent
    before = [process.descriptors() for process in (gateway, near)]
    times = []
    for number in range(cuts):
        traffic.wait_for_progress((number + 0.5) / cuts)
        area.cut()
        times.append(traffic.echo.flowed_since(time.monotonic()))
    took = traffic.finish()
    report(f"{cuts} resets, {scheme}, {transport}", traffic, took, times)
    crossing.check_nobody_registered_anew()
    assert sanitized or statistics.median(times) < 0.3
    if transport == "websocket":
        assert len(crossing.told("link.resumed")) >= 2 * cuts
        # The carriers that were lost are gone. Both transfers have ended; their sockets are fewer.
        eventually(lambda: all(process.descriptors() <= count for process, count in
                               zip((gateway, near), before)), message="descriptors are left")


def fall_silent(crossing, traffic):
    """Packets vanish; nothing is closed."""
    crossing.area.blackhole()
    idle(SILENT)
    moment = time.monotonic()
    crossing.area.blackhole(False)
    return traffic.echo.flowed_since(moment)


def forget(crossing, traffic):
    """A NAT on the way has another address, and no table."""
    crossing.area.forget(NAT_ADDRESS)
    moment = time.monotonic()
    return traffic.echo.flowed_since(moment)


def change_address(crossing, traffic):
    crossing.area.move(OTHER_ADDRESS)
    moment = time.monotonic()
    return traffic.echo.flowed_since(moment)


def stop_listening(crossing, traffic):
    """The proxy before the gateway is gone, with the carriers of both agents."""
    crossing.stop_front()
    idle(AWAY)
    moment = time.monotonic()
    crossing.start_front()
    return traffic.echo.flowed_since(moment)


# What happens, and seconds in which all must flow again (once it can).
FAULTS = {
    "the path is silent for 20 s": ((fall_silent,), 10.0),
    "the address changes": ((forget, change_address), 15.0),
    "the listener is gone for 10 s": ((stop_listening,), 10.0),
}


class Scenario:
    """One of them, while the traffic is under way."""

    def __init__(self, world, wide_area, name, secure, size):
        self.name = f"{name}, {'wss' if secure else 'ws'}"
        self.faults, self.limit = FAULTS[name]
        self.crossing = Crossing(world, wide_area(round_trip=10), secure,
                                 has_front=stop_listening in self.faults)
        self.traffic = Traffic(self.crossing, size)

    def run(self):
        times = []
        for number, fault in enumerate(self.faults):
            self.traffic.wait_for_progress((number + 0.5) / (len(self.faults) + 1))
            times.append(fault(self.crossing, self.traffic))
        assert self.traffic.progress() < 1, "it was over before"
        took = self.traffic.finish()
        report(self.name, self.traffic, took, times)
        self.crossing.check_nobody_registered_anew()
        assert len(self.crossing.told("link.resumed")) >= len(self.faults)
        assert max(times) < self.limit, self.name


@pytest.mark.limit(150)
def test_what_takes_its_time(world, wide_area, size):
    """All at once, since they wait most of the time."""
    scenarios = [Scenario(world, wide_area, name, secure, size)
                 for name in FAULTS for secure in (False, True)]
    tasks = [Task(scenario.run) for scenario in scenarios]
    for task in tasks:
        task.finish(120.0)
