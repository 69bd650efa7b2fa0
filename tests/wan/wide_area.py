"""A wide-area line between two network namespaces, played by tests/wan/wan_line.

    with WideArea(program, round_trip=50, rate=100e6) as area:
        subprocess.run(area.near.command("iperf3", "-c", area.far.address))

It uses nothing but the standard library, since the benchmark uses it too. Where it cannot run,
`missing` says why.
"""

import contextlib
import ctypes
import os
import subprocess
import threading

NEAR_ADDRESS = "198.18.0.1"  # of the block for measurements (RFC 2544 §C.2.2)
FAR_ADDRESS = "198.18.1.1"
PREFIX = 15
TUN = "/dev/net/tun"
CLONE_NEWNET = 0x40000000
# An interface that drops packets before the line sees them would be a line of its own.
DEVICE_QUEUE = 20000
SECONDS_TO_ANSWER = 10

_libc = ctypes.CDLL(None, use_errno=True)


def missing(tun=TUN):
    """Why no line can be had here, as a sentence's end; None if it can."""
    if os.geteuid() != 0:
        return "network namespaces and TUN devices are for root"
    if not os.path.exists(tun):
        return f"there is no {tun}"
    try:
        os.close(os.open(tun, os.O_RDWR))
    except OSError as error:
        return f"{tun} cannot be opened: {error.strerror}"
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True,
                           check=False)
    return f"no network namespace: {probe.stderr.strip()}" if probe.returncode != 0 else None


class Failed(Exception):
    """The line could not be set up, or did not obey; the text says why."""


class Namespace:
    """One end of the line."""

    def __init__(self, name, path, address):
        self.name = name
        self.path = path
        self.address = address

    def wrapper(self):
        """The words before a command that make it run here. They exec it: the pid stays."""
        return ["nsenter", f"--net={self.path}", "--"]

    def command(self, *words):
        return [*self.wrapper(), *(str(word) for word in words)]

    def run(self, *words, standard_input=None, timeout=30):
        """Runs a command here to its end; what it printed."""
        done = subprocess.run(self.command(*words), input=standard_input, capture_output=True,
                              text=True, timeout=timeout, check=False)
        if done.returncode != 0:
            raise Failed(f"{' '.join(map(str, words))} in {self.name} ended with "
                         f"{done.returncode}: {done.stderr.strip()}")
        return done.stdout

    @contextlib.contextmanager
    def entered(self):
        """This thread is here meanwhile. The sockets that it makes are here for ever."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            self._enter(self.path)
            try:
                yield self
            finally:
                self._enter(f"/proc/self/fd/{own}")
        finally:
            os.close(own)

    @staticmethod
    def _enter(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if _libc.setns(descriptor, CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, f"setns: {os.strerror(number)}")
        finally:
            os.close(descriptor)

    def set_kernel(self, name, value, is_optional=False):
        """Sets one of /proc/sys/net of this namespace. An optional one may be missing."""
        path = f"/proc/sys/net/{name}"
        with self.entered():
            if is_optional and not os.path.exists(path):
                return
            with open(path, "w", encoding="ascii") as file:
                file.write(f"{value}\n")


class Counts:
    """Packets of one direction."""

    def __init__(self, delivered, overflowed, lost, swallowed):
        self.delivered = delivered
        self.overflowed = overflowed
        self.lost = lost
        self.swallowed = swallowed


class WideArea:
    """A line and its two ends, `near` and `far`. Times are milliseconds, rates bits a second.

    `round_trip` is the whole way, `set(delay=...)` one direction's. `congestion` is the algorithm
    of TCP at both ends; without it, what this system uses.
    """

    def __init__(self, program, round_trip=0.0, seed=1, congestion=None, **settings):
        self._lock = threading.Lock()
        self._process = subprocess.Popen([str(program), NEAR_ADDRESS, str(seed)],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            self.near = Namespace("near", self._read("near "), NEAR_ADDRESS)
            self.far = Namespace("far", self._read("far "), FAR_ADDRESS)
            self._read("ready")
            for end in (self.near, self.far):
                self._prepare(end, congestion)
            self.set(delay=round_trip / 2, **settings)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def pid(self):
        """Of the process that plays the line."""
        return self._process.pid

    def close(self):
        """Ends the line, and with it the namespaces, once what runs in them has ended."""
        if self._process.stdin:
            self._process.stdin.close()
            self._process.stdin = None
        try:
            self._process.wait(SECONDS_TO_ANSWER)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._process.stderr.close()

    def _prepare(self, end, congestion):
        end.run("ip", "-batch", "-", standard_input=f"""
link set lo up
addr add {end.address}/{PREFIX} dev wan
link set wan txqueuelen {DEVICE_QUEUE}
link set wan up
""")
        end.set_kernel("ipv6/conf/all/disable_ipv6", 1, is_optional=True)
        # What one connection learned of the line is nothing that the next may know.
        end.set_kernel("ipv4/tcp_no_metrics_save", 1)
        if congestion:
            try:
                end.set_kernel("ipv4/tcp_congestion_control", congestion)
            except OSError as error:
                raise Failed(f"{congestion} cannot be had: {error.strerror}; see "
                             "/proc/sys/net/ipv4/tcp_allowed_congestion_control") from error

    def _read(self, beginning):
        line = self._process.stdout.readline().rstrip("\n")
        if not line:
            raise Failed(f"the line ended: {self._process.stderr.read().strip()}")
        if not line.startswith(beginning):
            raise Failed(line)
        return line[len(beginning):]

    def _ask(self, *words):
        with self._lock:
            try:
                self._process.stdin.write(" ".join(str(word) for word in words if word) + "\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                pass  # the answer says more
            return self._read("ok")

    def set(self, direction=None, **settings):
        """delay, rate, queue (bytes), loss (per cent): of one direction ("up" is near to far) or
        of both."""
        for name, value in settings.items():
            self._ask(name, value if value else "0", direction)

    def blackhole(self, is_on=True, direction=None):
        """All packets vanish, and nobody is told."""
        self._ask("blackhole", "on" if is_on else "off", direction)

    def cut(self):
        """What is on the way is lost, and every TCP connection across the line is reset."""
        self._ask("cut")

    def forget(self, address):
        """A NAT forgot its table: far sees near as `address` from now on, and what it sends to the
        one before leads nowhere. An old connection is reset at near as soon as near sends."""
        self._ask("address", address)

    def move(self, address):
        """near has another address from now on. What its old connections send goes nowhere."""
        self.near.run("ip", "-batch", "-", standard_input=f"""
addr del {self.near.address}/{PREFIX} dev wan
addr add {address}/{PREFIX} dev wan
""")
        self.near.address = address

    def counts(self):
        """(up, down): what became of the packets so far."""
        words = self._ask("count").split()
        return (Counts(*(int(word) for word in words[1:5])),
                Counts(*(int(word) for word in words[6:10])))
