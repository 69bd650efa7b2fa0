"""Time as a test's subject. A bound is an absolute part, which a quiet machine keeps easily, and a
multiple of what the same thing takes directly, in the same moment."""

import time

from culvert.peers import connect, receive_exactly

BUSY = 20  # how many times longer than the direct way the tunnel may take on a busy machine


def seconds_of(action):
    """How long `action()` takes."""
    start = time.monotonic()
    action()
    return time.monotonic() - start


def round_trips(connection, count=50, data=b"x" * 64):
    """The seconds that each of `count` questions to an echo server takes."""

    def ask():
        connection.sendall(data)
        receive_exactly(connection, len(data))

    return [seconds_of(ask) for _ in range(count)]


def median(values):
    return sorted(values)[len(values) // 2]


def compare_round_trips(port, direct_port, count=50):
    """The medians through the tunnel and to the echo server itself, asked in turns."""
    with connect(port) as tunnelled, connect(direct_port) as direct:
        both = [(round_trips(tunnelled, 1)[0], round_trips(direct, 1)[0]) for _ in range(count)]
    return median([pair[0] for pair in both]), median([pair[1] for pair in both])
