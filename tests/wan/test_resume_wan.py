"""Sessions do not notice what happens to the carrier under them.

Each test carries 500 MB in each direction with a checksum at both ends, and an echo beside it.
Times are printed: pytest -s shows them.
"""

import statistics
import threading
import time

import pytest

from crossing import Crossing, Traffic
from culvert.process import eventually
from culvert.task import Task

pytestmark = [pytest.mark.wan, pytest.mark.slow]

CUTS = 50
RATE = 400e6
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


def cut_again_and_again(crossing, traffic, cuts):
    """Resets every connection so many times while the transfers are under way. The seconds from
    each cut until something has gone there and back, and those that all took."""
    times = []
    traffic.begin()
    for number in range(cuts):
        traffic.wait_for_progress((number + 0.5) / cuts)
        crossing.area.cut()
        times.append(traffic.echo.flowed_since(time.monotonic()))
    return times, traffic.finish()


@pytest.mark.limit(240)
def test_a_carrier_that_is_reset_fifty_times(world, wide_area, secure, size, sanitized):
    # At a rate that leaves the machine time for the echo: it is the line that is tested.
    area = wide_area(round_trip=10, rate=RATE, queue=RATE / 8 * 0.01)
    crossing = Crossing(world, area, secure, options=("--transport", "websocket"))
    traffic = Traffic(crossing, size)
    gateway, near = crossing.gateway, crossing.near_agent
    before = [process.descriptors() for process in (gateway, near)]
    times, took = cut_again_and_again(crossing, traffic, CUTS)
    report(f"{CUTS} resets, {'wss' if secure else 'ws'}", traffic, took, times)
    crossing.check_nobody_registered_anew()
    assert len(crossing.told("link.resumed")) >= CUTS
    assert sanitized or statistics.median(times) < 0.3
    # The carriers that were lost are gone. There may be an express one now.
    eventually(lambda: all(process.descriptors() <= count + 1 for process, count in
                           zip((gateway, near), before)), message="descriptors are left")


def test_carriers_of_both_agents_that_are_reset_until_they_poll(world, wide_area, size):
    """At the same moment. After some cuts the agents go on by long poll."""
    crossing = Crossing(world, wide_area(round_trip=10), secure=True, agent2="near")
    traffic = Traffic(crossing, size // 5)
    times, took = cut_again_and_again(crossing, traffic, CUTS // 5)
    report(f"{CUTS // 5} resets of both", traffic, took, times)
    crossing.check_nobody_registered_anew()
    assert "by long poll" in crossing.near_agent.output()


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


# Seconds in which all must flow again, once it can. The time-outs of an agent add up to 10 s at most;
# the rest is for a machine that has other work.
LIMIT = 30.0
FAULTS = {
    "the path is silent for 20 s": (fall_silent,),
    "the address changes": (forget, change_address),
    "the listener is gone for 10 s": (stop_listening,),
}


class Scenario:
    """One of them, while the traffic is under way."""

    def __init__(self, world, wide_area, name, secure, size):
        self.name = f"{name}, {'wss' if secure else 'ws'}"
        self.faults = FAULTS[name]
        self.crossing = Crossing(world, wide_area(round_trip=10), secure,
                                 has_front=stop_listening in self.faults)
        self.traffic = Traffic(self.crossing, size)

    def run(self):
        times = []
        self.traffic.begin()
        for number, fault in enumerate(self.faults):
            self.traffic.wait_for_progress((number + 0.5) / (len(self.faults) + 1))
            assert self.traffic.progress() < 1, "it was over before"
            times.append(fault(self.crossing, self.traffic))
        took = self.traffic.finish()
        report(self.name, self.traffic, took, times)
        self.crossing.check_nobody_registered_anew()
        assert len(self.crossing.told("link.resumed")) >= len(self.faults)
        assert max(times) < LIMIT, self.name


@pytest.mark.limit(300)
def test_what_takes_its_time(world, wide_area, size):
    """All at once, since they wait most of the time."""
    scenarios = [Scenario(world, wide_area, name, secure, size)
                 for name in FAULTS for secure in (False, True)]
    tasks = [Task(scenario.run) for scenario in scenarios]
    for task in tasks:
        task.finish(120.0)
