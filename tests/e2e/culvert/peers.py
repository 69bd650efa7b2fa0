"""Peers in the test's own process: TCP servers, and what clients do with a socket."""

import ctypes
import errno
import fcntl
import hashlib
import os
import random
import select
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, Queue

from culvert.process import PATIENCE, eventually, patience

TIMEOUT = PATIENCE
PORTS = 10000, 32000
SIOCOUTQ = 0x5411  # <linux/sockios.h>
_LIBC = ctypes.CDLL(None)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def free_port(address="127.0.0.1"):
    """A port that was free a moment ago, for programs that cannot pick one themselves. The system
    gives it to nobody in between: it is below those that it hands out, and taken at random, since
    tests run side by side."""
    while True:
        port = random.randrange(*PORTS)
        with socket.socket(family_of(address)) as probe:
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port


def connect(port, address="127.0.0.1", timeout=TIMEOUT):
    return socket.create_connection((address, port), timeout=timeout)


def pass_on(source, sink):
    """Sends on what comes, and the half-close, until either side is gone."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def echo(connection):
    """A handler that sends everything back, the half-close too."""
    while data := connection.recv(256 * 1024):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


class Server:
    """A TCP server on a free port. `handler` runs for each connection in a thread of its own;
    without one, `accept` hands the connections out."""

    def __init__(self, handler=None, address="127.0.0.1", port=0, receive_buffer=None):
        self._handler = handler
        self._waiting = Queue()
        self._connections = []
        self._lock = threading.Lock()
        self._listener = socket.socket(family_of(address))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind((address, port))
        self._listener.listen(4096)
        self.address = address
        self.port = self._listener.getsockname()[1]
        self.accepted = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(TIMEOUT)
            with self._lock:
                self.accepted += 1
                self._connections.append(connection)
            if self._handler:
                threading.Thread(target=self._handle, args=(connection,), daemon=True).start()
            else:
                self._waiting.put(connection)

    def _handle(self, connection):
        try:
            self._handler(connection)
        except OSError:
            pass
        finally:
            with self._lock:
                self._connections.remove(connection)
            connection.close()

    def accept(self, timeout=TIMEOUT):
        """The next connection."""
        timeout = patience(timeout)
        try:
            return self._waiting.get(timeout=timeout)
        except Empty:
            raise AssertionError(f"no connection came within {timeout} s") from None

    def close(self):
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self._thread.join(TIMEOUT)
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            if not self._handler:
                for connection in self._connections:
                    connection.close()


def receive_exactly(connection, size):
    """`size` bytes; fails if the stream ends before."""
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(min(size - len(data), 256 * 1024))
        assert piece, f"the stream ended after {len(data)} of {size} bytes"
        data += piece
    return bytes(data)


def receive_all(connection):
    """Everything up to the end of the stream."""
    data = bytearray()
    while piece := connection.recv(256 * 1024):
        data += piece
    return bytes(data)


def wait_until_taken(connection):
    """Waits until the peer's system has acknowledged all that was sent."""
    def unacknowledged():
        packed = fcntl.ioctl(connection.fileno(), SIOCOUTQ, bytes(4))
        return struct.unpack("i", packed)[0]

    eventually(lambda: unacknowledged() == 0, message="what was sent was not acknowledged")


def receive_until_reset(connection):
    """All bytes in front of the reset; fails if the stream ends in order."""
    data = bytearray()
    while True:
        try:
            piece = connection.recv(256 * 1024)
        except (ConnectionResetError, BrokenPipeError):
            return bytes(data)
        assert piece, f"the stream ended in order after {len(data)} bytes"
        data += piece


def expect_end(connection, timeout=TIMEOUT):
    """The stream ends in order, with nothing more in it."""
    connection.settimeout(patience(timeout))
    assert connection.recv(1) == b""


def wait_for_error(connection, timeout=TIMEOUT):
    """Waits until the socket has been reset, without reading what is in front of it; returns the
    error's number."""
    poll = select.poll()
    poll.register(connection, 0)
    timeout = patience(timeout)
    assert poll.poll(timeout * 1000), f"the connection was not reset within {timeout} s"
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def expect_reset(connection, timeout=TIMEOUT):
    """The connection is reset, and not merely ended."""
    assert wait_for_error(connection, timeout) == errno.ECONNRESET


def expect_session_reset(port, timeout=TIMEOUT):
    """A connection to the port is taken and then reset, because its session cannot be."""
    try:
        connection = connect(port)
    except ConnectionResetError:
        return
    with connection:
        expect_reset(connection, timeout)


def expect_session_gone(port, timeout=TIMEOUT):
    """A connection to the port ends in any way, be it before it is known."""
    try:
        connection = connect(port)
    except ConnectionResetError:
        return
    with connection:
        expect_gone(connection, timeout)


def expect_gone(connection, timeout=TIMEOUT):
    """The connection ends in any way."""
    connection.settimeout(patience(timeout))
    try:
        while connection.recv(65536):
            pass
    except (ConnectionResetError, BrokenPipeError):
        pass


def reset(connection):
    """Closes with a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def fill(connection, patience=1.0, limit=512 * 1024 * 1024):
    """Sends until nothing was taken for `patience` seconds; returns how many bytes were."""
    piece = bytes(256 * 1024)
    connection.setblocking(False)
    sent = 0
    while True:
        if not select.select([], [connection], [], patience)[1]:
            connection.settimeout(TIMEOUT)
            return sent
        try:
            sent += connection.send(piece)
        except BlockingIOError:
            continue
        assert sent <= limit, f"{sent} bytes were taken though nobody reads them"


def is_silent(connection, seconds):
    """Whether the connection neither sends nor ends for so long."""
    return not select.select([connection], [], [], seconds)[0]


def echo_once(port, data=b"hello", address="127.0.0.1", timeout=TIMEOUT):
    """One session with an echo server: `data` there and back, then an orderly end."""
    with connect(port, address, timeout) as connection:
        connection.sendall(data)
        assert receive_exactly(connection, len(data)) == data
        connection.shutdown(socket.SHUT_WR)
        expect_end(connection, timeout)


def echo_bulk(port, size):
    """One session with an echo server, sending and receiving at once; compares checksums."""
    piece = os.urandom(min(size, 1024 * 1024))
    sent, received = hashlib.sha256(), hashlib.sha256()
    with connect(port) as connection:

        def send():
            left = size
            while left:
                data = piece[:left]
                sent.update(data)
                connection.sendall(data)
                left -= len(data)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        count = 0
        while data := connection.recv(256 * 1024):
            received.update(data)
            count += len(data)
        sender.join(TIMEOUT)
    assert count == size
    assert received.digest() == sent.digest()


def in_parallel(action, arguments, workers=50):
    """Runs `action` for each argument in threads; the first failure is raised."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(action, arguments))


class _Relayed:
    """A connection through a proxy."""

    def __init__(self, near, far):
        self.near = near
        self.far = far
        self.is_silent = False

    def copy(self, source, sink):
        try:
            while data := source.recv(65536):
                if self.is_silent:
                    return
                sink.sendall(data)
            if not self.is_silent:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def _disconnect(connection):
    """A RST now, whatever other threads are doing with the socket (connect(2), AF_UNSPEC)."""
    address = struct.pack("=H14x", socket.AF_UNSPEC)
    _LIBC.connect(connection.fileno(), address, len(address))


class Proxy:
    """A TCP proxy in front of a port, whose connections can be cut or left half-open."""

    def __init__(self, port, own_port=0):
        self._target = port
        self._relayed = []
        self._server = Server(self._relay, port=own_port)
        self.port = self._server.port

    def _relay(self, near):
        with connect(self._target) as far:
            near.settimeout(None)
            far.settimeout(None)
            relayed = _Relayed(near, far)
            self._relayed.append(relayed)
            back = threading.Thread(target=relayed.copy, args=(far, near), daemon=True)
            back.start()
            relayed.copy(near, far)
            back.join()

    def accepted(self):
        """How many connections have come so far."""
        return self._server.accepted

    def cut(self):
        """Ends all connections on both sides."""
        relayed, self._relayed = self._relayed, []
        for one in relayed:
            for connection in (one.near, one.far):
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def reset(self):
        """Resets all connections on both sides, at once, with all that is on its way."""
        relayed, self._relayed = self._relayed, []
        for one in relayed:
            one.is_silent = True
            for connection in (one.near, one.far):
                _disconnect(connection)

    def half_open(self):
        """Ends all connections towards who dialled and leaves the far sides open and silent;
        returns those sockets, for the caller to close."""
        relayed, self._relayed = self._relayed, []
        silent = []
        for one in relayed:
            one.is_silent = True
            silent.append(one.far.dup())
            one.near.shutdown(socket.SHUT_RDWR)
        return silent

    def close(self):
        self.cut()
        self._server.close()
