"""Which tests were skipped, why, and whether this machine could have run them."""

import collections
import errno
import importlib.util
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile

# The harness of the end-to-end tests asks the same.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "e2e"))

from culvert.peers import has_ipv6
from culvert.users import can_be_others


def has_namespaces():
    return subprocess.run(["unshare", "--user", "--net", "--map-root-user", "true"],
                          capture_output=True, check=False).returncode == 0


def has_access_lists():
    """Whether files of tests can have them: then there is none, not no support."""
    try:
        os.getxattr(tempfile.gettempdir(), "system.posix_acl_access")
        return True
    except OSError as error:
        return error.errno == errno.ENODATA


def can_bind(port):
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", port))
            return True
    except OSError:
        return False


def has_tun():
    return os.geteuid() == 0 and os.access("/dev/net/tun", os.R_OK | os.W_OK)


def has_network():
    """Whether an interface beside loopback has a route."""
    return len(pathlib.Path("/proc/net/route").read_text("ascii").splitlines()) > 1


def has_other_name_of_loopback():
    lines = pathlib.Path("/etc/hosts").read_text("utf-8", "replace").splitlines()
    entries = [line.partition("#")[0].split() for line in lines]
    return any("localhost" not in name for words in entries for name in words[1:]
               if words[0] in ("127.0.0.1", "::1"))


def has_privileged_ports():
    path = pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    return int(path.read_text("ascii")) > 80


# A skip's reason, and whether what it misses is there after all. A reason that is not in this list
# is none: no test may be skipped for it.
PROBES = [
    (r"no namespaces", has_namespaces),
    (r"no IPv6", has_ipv6),
    (r"no wide-area line", has_tun),
    (r"this machine has only loopback", has_network),
    (r"has no other name of loopback", has_other_name_of_loopback),
    (r"needs a network and the right", lambda: has_network() and os.geteuid() == 0),
    (r"no ACLs in ", has_access_lists),
    (r"needs to run as other users", can_be_others),
    (r"needs root and setpriv", lambda: os.geteuid() == 0 and shutil.which("setpriv") is not None),
    (r"needs port 53", lambda: os.geteuid() == 0 and can_bind(53)),
    (r"port 80 is for everybody", has_privileged_ports),
    (r"this is such a run", lambda: os.geteuid() == 0),
    (r"there is no (?P<program>\S+)$", lambda program: shutil.which(program) is not None),
    (r"there is no setuptools", lambda: importlib.util.find_spec("setuptools") is not None),
]


def could_run(reason):
    """Whether this machine has what a skipped test says that it misses."""
    for pattern, probe in reversed(PROBES):
        match = re.search(pattern, reason)
        if match:
            return bool(probe(**match.groupdict()))
    return True


class Skips:
    """The skipped tests of several runs, by reason."""

    def __init__(self):
        self._reasons = collections.Counter()

    def add(self, reason):
        self._reasons[reason] += 1

    def needless(self):
        """The reasons that do not hold on this machine."""
        return [reason for reason in self._reasons if could_run(reason)]

    def line(self):
        """`N skipped: why`, without the reasons if there are none."""
        why = ", ".join(f"{reason} ({count})" for reason, count in self._reasons.most_common())
        return f"{sum(self._reasons.values())} skipped" + (f": {why}" if why else "")
