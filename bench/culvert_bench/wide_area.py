"""The ways across a wide-area line, and what is measured on them.

The services, the gateway and agent2 are far, agent1 and the clients near: of the hops from client
to agent1, gateway, agent2 and service only the one from agent1 to the gateway crosses the line.
"""

import contextlib
import json
import subprocess

from .contenders import make_certificate, wait_for_forwards
from .processes import Failed, Process

SERVICES = {"iperf": 5201, "echo": 5202}
GATEWAY_PORT = 5300
ECHO_SIZE = 64
ECHO_INTERVAL = 10  # milliseconds
DIRECTIONS = {"up": (), "down": ("--reverse",)}
# A connection and iperf3's own questions take round trips before anything flows.
FIRST_ROUND_TRIPS = 8


class Direct:
    """The client's connection crosses the line itself. One of them is what the others are held
    against, with whatever number of streams."""

    name = "direct"
    measurements = ("one_stream",)

    def __init__(self, folder, area, culvert):
        self.folder = folder
        self.area = area
        self.culvert = culvert
        self.places = {name: (area.far.address, port) for name, port in SERVICES.items()}
        self.processes = []

    def start(self):
        pass

    def run(self, end, name, *command):
        process = Process(f"{self.name}-{name}", end.command(*command), self.folder)
        self.processes.append(process)
        return process

    def complaints(self):
        """What its processes have said of themselves so far, for a measurement that failed."""
        return [line for process in self.processes
                for line in process.errors.read_text(errors="replace").splitlines()
                if "OPEN: " not in line]

    def stop(self):
        for process in self.processes:
            process.stop()
        self.processes = []


class Plain(Direct):
    name = "ws"
    measurements = ("one_stream", "eight_streams")
    tls = ()
    trust = ()

    def start(self):
        near, far = self.area.near, self.area.far
        data = self.folder / f"{self.name}-data"
        gateway = self.run(far, "gateway", self.culvert, "gateway", "--listen",
                           f"{far.address}:{GATEWAY_PORT}", "--auth-grant", "--open", "--data",
                           data, "--log-level", "warning", *self.tls)
        gateway.wait_for_line("listening on ")
        common = ["--url", f"{self.name}://{far.address}:{GATEWAY_PORT}", "--log-level", "warning",
                  *self.trust]
        agent2 = self.run(far, "agent2", self.culvert, "agent", "--name", "agent2", *common)
        agent2.wait_for_line("registered ")
        rules = [f"0:agent2:127.0.0.1:{port}" for port in SERVICES.values()]
        agent1 = self.run(near, "agent1", self.culvert, "agent", "--name", "agent1", *common,
                          *rules)
        self.places = {name: ("127.0.0.1", port)
                       for name, port in wait_for_forwards(agent1, SERVICES).items()}


class Secure(Plain):
    name = "wss"

    def start(self):
        certificate, key = make_certificate(self.folder, "far", f"IP:{self.area.far.address}")
        self.tls = ("--tls-cert", certificate, "--tls-key", key)
        self.trust = ("--ca", certificate)
        super().start()


WAYS = {kind.name: kind for kind in (Direct, Plain, Secure)}


class EchoServer:
    """At the far end, for all measurements."""

    def __init__(self, folder, area, tools):
        self.process = Process("echo", area.far.command(tools / "echo_latency", "serve",
                                                        f"0.0.0.0:{SERVICES['echo']}"), folder)
        try:
            self.process.wait_for_line("listening")
        except Failed:
            self.process.stop()
            raise

    def stop(self):
        self.process.stop()


class Crossing:
    """Measurements from the near end. Each gives a dict from a row's name to a number."""

    def __init__(self, folder, area, tools, round_trip, seconds):
        self.folder = folder
        self.area = area
        self.tools = tools
        self.seconds = seconds
        # In which windows grow to what the line needs, of TCP and of the tunnel alike.
        self.warm_up = 1 + 20 * round_trip / 1000
        self.first = FIRST_ROUND_TRIPS * round_trip / 1000

    def _start(self, *command):
        return subprocess.Popen(self.area.near.command(*command), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def _finish(self, process, name):
        limit = self.warm_up + self.first + self.seconds + 60
        try:
            told, errors = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise Failed(f"{name} did not end within {limit:.0f} s") from error
        if process.returncode != 0:
            raise Failed(f"{name} ended with {process.returncode}: {(errors or told)[-300:]}")
        return json.loads(told)

    @contextlib.contextmanager
    def _iperf(self, way, streams, direction, seconds):
        """A client that has begun. Each gets a server of its own: one is busy with the last client
        for as long as its bytes are still on the way."""
        server = Process("iperf3", self.area.far.command(
            "iperf3", "--server", "--one-off", "--port", SERVICES["iperf"], "--forceflush"),
            self.folder)
        try:
            server.wait_for_line("Server listening")
            host, port = way.places["iperf"]
            yield self._start("iperf3", "--client", host, "--port", port, "--time", seconds,
                              "--omit", round(self.warm_up), "--parallel", streams, "--json",
                              *DIRECTIONS[direction])
        finally:
            server.stop()

    @staticmethod
    def _rate(result):
        if "error" in result:
            raise Failed(f"iperf3: {result['error']}")
        return result["end"]["sum_received"]["bits_per_second"] / 1e6

    def eight_streams(self, way, direction):
        with self._iperf(way, 8, direction, self.seconds) as bulk:
            return {f"8 streams {direction}, Mbit/s": self._rate(self._finish(bulk, "iperf3"))}

    def one_stream(self, way, direction):
        """One stream, and an echo beside it on a session of its own."""
        host, port = way.places["echo"]
        with self._iperf(way, 1, direction, self.seconds + 1) as bulk:
            echo = self._start(self.tools / "echo_latency", "pace", f"{host}:{port}", self.seconds,
                               ECHO_SIZE, ECHO_INTERVAL, round(self.warm_up + self.first))
            try:
                times = self._finish(echo, "echo_latency")
            finally:
                rate = self._finish(bulk, "iperf3")
        return {
            f"1 stream {direction}, Mbit/s": self._rate(rate),
            f"echo beside it ({direction}), median, ms": times["median_us"] / 1000,
            f"echo beside it ({direction}), p99, ms": times["p99_us"] / 1000,
        }
