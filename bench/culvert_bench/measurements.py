"""The measurements. Each takes a contender and gives a dict from a row's name to a number."""

import json
import re
import subprocess

from .processes import Failed, Process, cpu_seconds, largest_resident

GIGABYTE = 1e9
IDLE_SESSIONS = 10000
ECHO_SIZE = 64
CLIENTS = 32
# Descriptors that a process needs besides its sessions, and culvert's reserve.
SPARE_DESCRIPTORS = 100
# A bare relay has two for each session. An agent has one, but gives no asking agent more of them
# than it leaves for all others.
DESCRIPTORS_PER_SESSION = 2
CIPHER = "aes-128-gcm"
RECORD_SIZE = 16384


class Measurements:
    def __init__(self, folder, tools, seconds, descriptor_limit):
        self.folder = folder
        self.tools = tools
        self.seconds = seconds
        self.descriptor_limit = descriptor_limit
        self.notes = set()

    def _run(self, command, seconds):
        try:
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                                  timeout=seconds, check=False)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{command[0]} did not end within {seconds} s") from error
        if done.returncode != 0:
            told = (done.stderr or done.stdout).strip()[-300:]
            raise Failed(f"{command[0]} ended with {done.returncode}: {told}")
        return done.stdout

    def _iperf(self, contender, streams):
        before = cpu_seconds(contender.pids())
        text = self._run(["iperf3", "--client", "127.0.0.1", "--port", contender.ports["iperf"],
                          "--time", self.seconds, "--omit", 1, "--parallel", streams, "--json"],
                         self.seconds + 30)
        cpu = cpu_seconds(contender.pids()) - before
        result = json.loads(text)
        if "error" in result:
            raise Failed(f"iperf3: {result['error']}")
        # The CPU time is that of the whole run, so the bytes of the omitted second count too.
        carried = sum(interval["sum"]["bytes"] for interval in result["intervals"])
        return result["end"]["sum_received"]["bits_per_second"], cpu / (carried / GIGABYTE)

    def throughput(self, contender):
        """iperf3 with 1 and 8 streams, and what a gigabyte costs."""
        one, cost = self._iperf(contender, 1)
        eight, cost_of_eight = self._iperf(contender, 8)
        rows = {"1 stream, Gbit/s": one / 1e9, "8 streams, Gbit/s": eight / 1e9}
        if contender.processes:
            rows["CPU s/GB, 1 stream"] = cost
            rows["CPU s/GB, 8 streams"] = cost_of_eight
        if contender.is_encrypted:
            rows["AES-128-GCM s/GB"] = self._cipher_cost()
        return rows

    def _cipher_cost(self):
        """CPU seconds in which OpenSSL encrypts a gigabyte, in pieces of a TLS record's size."""
        text = self._run(["openssl", "speed", "-mr", "-seconds", 1, "-bytes", RECORD_SIZE, "-evp",
                          CIPHER], 30)
        rate = re.search(rf"^\+F:\d+:{CIPHER}:([\d.]+)$", text, re.MULTILINE | re.IGNORECASE)
        if rate is None:
            raise Failed(f"openssl speed printed no rate: {text.strip()[-300:]}")
        return GIGABYTE / float(rate.group(1))

    def _wrk(self, contender, *options):
        text = self._run(["wrk", "--threads", 1, "--connections", CLIENTS, "--duration",
                          f"{self.seconds}s", *options,
                          f"http://127.0.0.1:{contender.ports['http']}/"], self.seconds + 30)
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)",
                           text)
        if errors and any(int(count) for count in errors.groups()):
            self.notes.add(f"{contender.name}: wrk {' '.join(options)}: {errors.group(0)}")
        if "Non-2xx" in text:
            raise Failed("wrk got answers other than 200")
        return float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))

    def requests(self, contender):
        """wrk over 32 connections that stay, and with a new connection for each request."""
        return {
            "requests/s": self._wrk(contender),
            "new connections/s": self._wrk(contender, "-H", "Connection: close"),
        }

    def _echo(self, contender, seconds):
        return json.loads(self._run(
            [self.tools / "echo_latency", "measure", contender.ports["echo"], seconds, ECHO_SIZE],
            seconds + 60))

    def latency(self, contender):
        """A 64-byte echo, alone and beside one bulk stream."""
        alone = self._echo(contender, min(self.seconds, 3))
        bulk = Process("bulk", ["iperf3", "--client", "127.0.0.1", "--port",
                                contender.ports["iperf"], "--time", self.seconds + 5,
                                "--forceflush"], self.folder)
        try:
            # An interval's line says that the stream flows.
            bulk.wait_for_line("[  5]   0.00-1.00")
            beside = self._echo(contender, self.seconds)
            if bulk.child.poll() is not None:
                raise Failed("the bulk stream ended before the echo did")
        finally:
            try:
                bulk.child.wait(15)
            except subprocess.TimeoutExpired:
                pass
            bulk.stop()
        return {
            "echo median, µs": alone["median_us"], "echo p99, µs": alone["p99_us"],
            "echo median under bulk, µs": beside["median_us"],
            "echo p99 under bulk, µs": beside["p99_us"],
        }

    def memory(self, contender):
        """Resident memory when idle, and what an idle session adds to the largest process."""
        if not contender.processes:
            return {}
        idle = {name: largest_resident(process.child.pid)
                for name, process in contender.processes.items()}
        rows = {"RSS idle, MB": max(idle.values()) / 1e6}
        if "gateway" in idle:
            rows["RSS idle, gateway, MB"] = idle["gateway"] / 1e6
            rows["RSS idle, agent, MB"] = max(idle["agent1"], idle["agent2"]) / 1e6
        count = min(IDLE_SESSIONS, contender.most_sessions)
        per_process = (self.descriptor_limit - SPARE_DESCRIPTORS) // DESCRIPTORS_PER_SESSION
        if per_process < count:
            count = per_process
            self.notes.add(f"{contender.name}: {count} idle sessions, since a process may have "
                           f"{self.descriptor_limit} descriptors here")
        holder = subprocess.Popen(
            [str(self.tools / "idle_sessions"), str(contender.ports["echo"]), str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            held = int(holder.stdout.readline().split()[1])
            full = {name: largest_resident(process.child.pid)
                    for name, process in contender.processes.items()}
        finally:
            _, told = holder.communicate()
        if held < count:
            raise Failed(f"only {held} of {count} idle sessions: {told.strip()[-200:]}")
        growth = {name: (full[name] - idle[name]) / held / 1024 for name in idle}
        rows["RSS with idle sessions, MB"] = max(full.values()) / 1e6
        rows["idle session, KB"] = max(growth.values())
        for name in ("gateway", "agent1", "agent2"):
            if name in growth:
                rows[f"idle session, {name}, KB"] = growth[name]
        return rows
