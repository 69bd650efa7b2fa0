"""Processes under test: started with captured output, waited for by condition, ended by pid."""

import os
import re
import resource
import signal
import subprocess
import threading
import time

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
# Seconds after which a condition that must come true is given up. A busy machine can take almost as
# long, so no shorter bound is kept; a test about time measures it. Shorter than the default resume
# window (60 s).
PATIENCE = 45.0


def patience(timeout):
    """The seconds that a wait may take whose caller asked for `timeout`: PATIENCE at least."""
    return max(timeout, PATIENCE)


def eventually(condition, timeout=PATIENCE, message="the condition did not come true"):
    """Waits until `condition()` is true and returns its value; fails after `timeout` seconds,
    which are PATIENCE at least."""
    timeout = patience(timeout)
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{message} within {timeout} s")
        threading.Event().wait(0.01)


class Process:
    """A child that dies with the test run, its output kept line by line."""

    def __init__(self, name, command, env=None, cwd=None, stop_signal=signal.SIGTERM,
                 stdin=subprocess.DEVNULL):
        self.name = name
        self.stop_signal = stop_signal
        self.command = [str(word) for word in command]
        self.was_killed = False
        self._lines = []
        self._changed = threading.Condition()
        self._popen = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *self.command],
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=env, cwd=cwd, start_new_session=True)
        self.pid = self._popen.pid
        self._readers = [
            threading.Thread(target=self._read, args=(stream, pipe), daemon=True)
            for stream, pipe in (("out", self._popen.stdout), ("err", self._popen.stderr))]
        for reader in self._readers:
            reader.start()

    def children(self):
        """The ids of the processes that it has started and that are not reaped."""
        found = []
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{task}/children", encoding="ascii") as file:
                found += [int(child) for child in file.read().split()]
        return found

    def _read(self, stream, pipe):
        for line in pipe:
            with self._changed:
                self._lines.append((stream, line.decode(errors="replace").rstrip("\n")))
                self._changed.notify_all()
        pipe.close()
        with self._changed:
            self._changed.notify_all()

    def mark(self):
        """A position in the output, for wait_for(since=...)."""
        with self._changed:
            return len(self._lines)

    def wait_for(self, pattern, timeout=PATIENCE, since=0, stream=None):
        """The match of the first line that `pattern` (ignoring case) is found in."""
        expression = re.compile(pattern, re.IGNORECASE)
        timeout = patience(timeout)
        end = time.monotonic() + timeout
        position = since
        with self._changed:
            while True:
                for kind, line in self._lines[position:]:
                    match = expression.search(line)
                    if match and stream in (None, kind):
                        return match
                position = len(self._lines)
                if not any(reader.is_alive() for reader in self._readers):
                    raise AssertionError(
                        f"{self.name} ended without printing /{pattern}/:\n{self.output()}")
                remaining = end - time.monotonic()
                if remaining <= 0:
                    raise AssertionError(
                        f"{self.name} did not print /{pattern}/ within {timeout} s:\n"
                        f"{self.output()}")
                self._changed.wait(min(remaining, 0.1))

    def say(self, text):
        """Writes to its standard input, for one that was started with stdin=subprocess.PIPE."""
        self._popen.stdin.write(text.encode())
        self._popen.stdin.flush()

    def count(self, pattern):
        """In how many lines of the output `pattern` is found."""
        with self._changed:
            return sum(1 for _, line in self._lines if re.search(pattern, line, re.IGNORECASE))

    def output(self, stream=None):
        """All output so far, or of one stream ("out" or "err")."""
        with self._changed:
            return "\n".join(line for kind, line in self._lines if stream in (None, kind))

    def is_running(self):
        return self._popen.poll() is None

    def returncode(self):
        """The exit code, None while it runs, negative if a signal ended it."""
        return self._popen.poll()

    def signal(self, number):
        """Sends a signal, by pid, if the process still runs."""
        if self.is_running():
            os.kill(self.pid, number)

    def wait(self, timeout=PATIENCE):
        """The exit code; fails if the process does not end in time."""
        timeout = patience(timeout)
        try:
            code = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} still ran after {timeout} s:\n{self.output()}") from None
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def ask_to_stop(self):
        self.signal(signal.SIGCONT)
        self.signal(self.stop_signal)

    def stop(self, timeout=PATIENCE):
        """Asks the process to end and returns its exit code."""
        self.ask_to_stop()
        return self.wait(timeout)

    def kill(self):
        """Ends the process without a chance to say goodbye."""
        self.was_killed = True
        self.signal(signal.SIGKILL)
        self.wait()

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    def cpu_seconds(self):
        """User and system time used so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def descriptors(self):
        """How many descriptors are open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def limit_descriptors(self, count):
        """Sets how many descriptors the process may have, while it runs."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (count, hard))


def run(command, timeout=120.0, env=None, check=False, **options):
    """Runs a command to its end, its output captured as text."""
    result = subprocess.run(
        ["setpriv", "--pdeathsig", "KILL", "--", *(str(word) for word in command)],
        stdin=options.pop("stdin", subprocess.DEVNULL), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, errors="replace", timeout=timeout, env=env, **options)
    if check and result.returncode != 0:
        raise AssertionError(f"{command} ended with {result.returncode}:\n"
                             f"{result.stdout}{result.stderr}")
    return result
