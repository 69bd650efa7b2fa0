"""An ssh login, a copy and a psql session live on while their machine moves about."""

import hashlib
import os
import subprocess
import threading
import time

import pytest

from crossing import Crossing
from culvert.services import PostgresServer, SshServer
from culvert.world import environment

pytestmark = pytest.mark.once

pytestmark = [pytest.mark.wan, pytest.mark.slow]

AWAY = 15.0
CUTS = 10
RATE = 200e6
HOME, CAFE = "198.18.0.1", "198.18.0.9"


def checksum(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Dialogue:
    """A program that answers each line with one that begins with a number of ours."""

    def __init__(self, world, name, command, question):
        self._process = world.process(name, command, stdin=subprocess.PIPE, env=environment())
        self._question = question
        self._number = 0

    def ask(self, what, timeout=60.0):
        """What it says to `what`."""
        self._number += 1
        since = self._process.mark()
        self._process.say(self._question(self._number, what))
        answer = rf"(?:^|[#$] ){self._number}:(.*?)\r?$"  # behind a prompt, maybe
        return self._process.wait_for(answer, timeout, since, "out")[1]

    def say(self, line):
        self._process.say(line)

    def leave(self, word):
        self._process.say(word)
        assert self._process.wait() == 0, self._process.output()


class Laptop:
    """The near end with what somebody works with there: a shell by ssh that remembers a variable, a
    transaction in psql, and now and then a copy."""

    def __init__(self, world, area):
        self.world = world
        self.area = area
        os.chmod(world.directory, 0o755)  # the database's server is another user
        with area.far.entered():
            self.sshd, postgres = SshServer(world), PostgresServer(world)
        self.crossing = Crossing(world, area, secure=True)
        self.crossing.forward(self.sshd.port, postgres.port)
        self._ssh_port, database = (self.crossing.near_agent.port(index) for index in range(2))
        near = area.near
        self.shell = Dialogue(world, "ssh", near.command(
            "ssh", "-tt", *self.sshd.options(), "-p", self._ssh_port, "localhost", "sh"),
            lambda number, what: f'echo "{number}:{what}"\n')
        self.database = Dialogue(world, "psql", near.command(
            "psql", "-X", "-At", "-v", "ON_ERROR_STOP=1",
            f"host=127.0.0.1 port={database} sslmode=require user=postgres dbname=postgres"),
            lambda number, what: f"select '{number}:' || ({what});\n")

    def copy(self, source, target):
        """Begins scp to the far end."""
        return self.world.process("scp", self.area.near.command(
            "scp", "-q", *self.sshd.options(), "-P", self._ssh_port, source,
            f"localhost:{target}"), env=environment())

    def work(self):
        """Asks something in each session; the seconds until both have answered."""
        start = time.monotonic()
        assert self.shell.ask("$culvert_memory") == "still here"
        assert self.database.ask("select text from notes") == "still here"
        return time.monotonic() - start

    def leave(self):
        self.shell.leave("exit\n")
        self.database.leave("commit;\n\\q\n")


@pytest.fixture
def laptop(world, wide_area):
    one = Laptop(world, wide_area(round_trip=20, rate=RATE, queue=RATE / 8 * 0.05))
    one.shell.ask("${culvert_memory:=still here}")
    one.database.say("begin; create temp table notes as select 'still here' as text;\n")
    one.work()
    return one


@pytest.mark.limit(240)
def test_a_day_with_a_laptop(laptop, world, large_file):
    """The carrier is cut ten times, a NAT forgets, then it sleeps and wakes elsewhere. After some
    cuts the agent goes on by long poll, of which the sessions notice nothing either."""
    area, there = laptop.area, world.path("there")
    copying = laptop.copy(large_file.path, there)
    times = []
    for _ in range(CUTS):
        area.cut()
        times.append(laptop.work())
    area.forget(CAFE)
    times.append(laptop.work())
    area.forget(HOME)
    laptop.work()
    assert copying.is_running(), "it was over before"
    area.near.run("ip", "link", "set", "wan", "down")
    threading.Event().wait(AWAY)
    area.move(CAFE)
    area.near.run("ip", "link", "set", "wan", "up")
    back = laptop.work()
    print(f"\nworking again after {max(times):.3f} s at most, and {back:.3f} s after the sleep")
    assert back < 10.0
    assert copying.wait(30.0) == 0, copying.output()
    assert checksum(there) == large_file.checksum
    laptop.leave()
    laptop.crossing.check_nobody_registered_anew()
    assert laptop.crossing.told("link.resumed")
