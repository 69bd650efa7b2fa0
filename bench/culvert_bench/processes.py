"""Starting, watching and stopping processes by their id; what they cost."""

import ctypes
import os
import pathlib
import queue
import resource
import signal
import socket
import subprocess
import threading
import time

PR_SET_PDEATHSIG = 1
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A contender or a measurement did not work; the text says why."""


def raise_descriptor_limit():
    """As many descriptors as the system lets us have; returns how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if os.geteuid() == 0 and hard < 65536:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
            return 65536
        except (ValueError, OSError):
            pass
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_port(port, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Failed(f"nothing listens on port {port}")


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """A process whose standard output is read line by line in the background."""

    def __init__(self, name, command, folder):
        self.name = name
        self.errors = folder / f"{name}.err"
        self.lines = queue.Queue()
        with open(self.errors, "wb") as errors:
            self.child = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=errors, text=True, preexec_fn=_die_with_parent)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.child.stdout:
            self.lines.put(line.rstrip("\n"))

    def wait_for_line(self, beginning, seconds=10):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                line = self.lines.get(timeout=0.1)
            except queue.Empty:
                if self.child.poll() is not None:
                    break
                continue
            if line.startswith(beginning):
                return line
        raise Failed(f"{self.name} did not say '{beginning}': {self.said()}")

    def said(self):
        text = self.errors.read_text(errors="replace").strip()
        return text[-500:] if text else f"exit {self.child.poll()}"

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.reader.join(5)
        self.child.stdout.close()


def family(pids):
    """The processes and all their descendants."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    found = set(pids)
    grew = True
    while grew:
        children = {pid for pid, parent in parents.items() if parent in found} - found
        found |= children
        grew = bool(children)
    return found


def cpu_seconds(pids):
    """User and system time of all threads of all these processes and their descendants."""
    ticks = 0
    for pid in family(pids):
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def largest_resident(pid):
    """Resident bytes of the largest of a process and its descendants."""
    largest = 0
    for member in family([pid]):
        try:
            status = pathlib.Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmRSS:"):
                largest = max(largest, int(line.split()[1]) * 1024)
    return largest
