"""A small WebSocket and native-message client, which can also be as wrong as a test wants."""

import base64
import hashlib
import os
import socket
import ssl
import struct

import msgpack

from culvert.peers import TIMEOUT

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

HANDSHAKE, OPEN, DATA, RESET, FIN, CREDIT = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
MESSAGE_PING, MESSAGE_PONG, RECEIVED, ACK = 0x08, 0x09, 0x0A, 0xFF
GOAWAY, SKIP, END = 0x0B, 0x0F, 0x10
EXPRESS, EARLY = 0x40, 0x41
COUNTED = {OPEN, DATA, RESET, FIN, CREDIT, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, ACK}
MAX_DATA = 64 * 1024


class Closed(Exception):
    """The peer has ended the connection; `code` is its close frame's, if there was one."""

    def __init__(self, code=None):
        super().__init__(f"closed with code {code}")
        self.code = code


def encode(kind, body):
    """A whole message."""
    return bytes([kind]) + msgpack.packb(body, use_bin_type=True)


def accept_value(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def mask(payload, key):
    size = len(payload)
    pattern = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")


def frame(opcode, payload=b"", fin=True, masked=True, reserved=0, declared=None):
    """One frame; `declared` is a length to state instead of the real one."""
    size = len(payload) if declared is None else declared
    head = bytes([(0x80 if fin else 0) | (reserved << 4) | opcode])
    bit = 0x80 if masked else 0
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += struct.pack("!BH", bit | 126, size)
    else:
        head += struct.pack("!BQ", bit | 127, size)
    if not masked:
        return head + payload
    key = os.urandom(4)
    return head + key + mask(payload, key)


def upgrade_request(target="/", protocol="culvert.1", host="localhost", key=None, extra=""):
    """`extra`: further fields, each with its line's end."""
    key = key or base64.b64encode(os.urandom(16)).decode()
    return (f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {protocol}\r\n{extra}\r\n").encode()


class WebSocket:
    """A connected WebSocket; the other side's frames are read strictly."""

    def __init__(self, connection, received=b""):
        self.connection = connection
        self._received = received

    def close(self):
        self.connection.close()

    def send_raw(self, data):
        self.connection.sendall(data)

    def send(self, payload):
        self.send_raw(frame(BINARY, payload))

    def _take(self, size):
        while len(self._received) < size:
            try:
                data = self.connection.recv(256 * 1024)
            except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
                raise Closed from None
            if not data:
                raise Closed
            self._received += data
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def receive_frame(self, timeout=TIMEOUT):
        """(opcode, fin, payload) of the next frame; raises Closed at the end."""
        self.connection.settimeout(timeout)
        first, second = self._take(2)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack("!H", self._take(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self._take(8))[0]
        key = self._take(4) if second & 0x80 else None
        payload = self._take(size)
        if key:
            payload = mask(payload, key)
        opcode = first & 0x0F
        if opcode == CLOSE:
            raise Closed(struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else None)
        return opcode, bool(first & 0x80), payload


class Link(WebSocket):
    """A link to a gateway as an agent has it, message by message."""

    def __init__(self, connection, received, response):
        super().__init__(connection, received)
        self.response = response
        self._pending = []
        self.counted = 0
        self.welcome = None

    @classmethod
    def connect(cls, gateway, context=None, address="127.0.0.1", opening=(), **request):
        """Dials and upgrades. `opening`: bytes that are sent, piece by piece, before all else."""
        connection = socket.create_connection((address, gateway.port), timeout=TIMEOUT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in opening:
            connection.sendall(piece)
        if context:
            connection = context.wrap_socket(connection, server_hostname="localhost")
        connection.sendall(upgrade_request(**request))
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(65536)
            assert data, f"the gateway ended the connection after {head!r}"
            head += data
        response, _, rest = head.partition(b"\r\n\r\n")
        assert response.startswith(b"HTTP/1.1 101 "), response
        return cls(connection, rest, response.decode())

    def send_handshake(self, name, key="", **fields):
        """Sends the handshake alone."""
        self.send(encode(HANDSHAKE, {"Version": "1", "Name": name, "Key": key, "Features": [],
                                     "Window": 256 * 1024, "Epoch": 1, "First": 1, **fields}))

    def shake_hands(self, name, key="", **fields):
        """Sends the handshake and returns the gateway's answer."""
        self.send_handshake(name, key, **fields)
        kind, self.welcome = self.receive()
        assert kind == ACK and isinstance(self.welcome, dict), (kind, self.welcome)
        return self.welcome

    def send_message(self, kind, body):
        self.send(encode(kind, body))

    def open(self, sid, agent, port, host="127.0.0.1"):
        self.send_message(OPEN, [sid, "tcp", agent, host, port, "", {}])

    def receive(self, timeout=TIMEOUT):
        """(type, body) of the next message."""
        while not self._pending:
            payload, is_last = b"", False
            while not is_last:
                opcode, is_last, piece = self.receive_frame(timeout)
                if opcode in (PING, PONG):
                    is_last = False
                    continue
                payload += piece
            position = 0
            while position < len(payload):
                unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
                unpacker.feed(payload[position + 1:])
                self._pending.append((payload[position], unpacker.unpack()))
                position += 1 + unpacker.tell()
        kind, body = self._pending.pop(0)
        if kind in COUNTED and not isinstance(body, dict):
            self.counted += 1
        return kind, body

    def wait_for(self, kind, sid=None, timeout=TIMEOUT):
        """The body of the next message of this kind (and stream); others are dropped."""
        while True:
            found, body = self.receive(timeout)
            if found == kind and (sid is None or body[0] == sid):
                return body

    def wait_closed(self, timeout=TIMEOUT):
        """The gateway cuts the link; returns the code of its close frame, if it sent one."""
        try:
            while True:
                self.receive(timeout)
        except Closed as closed:
            return closed.code


def answer_upgrade(connection, protocol="culvert.1"):
    """The server's part of an upgrade, for tests that play the gateway; returns the request. One
    that takes up no protocol (None) is no culvert gateway."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError
        head += data
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line)
    key = {name.lower(): value for name, value in fields.items()}["sec-websocket-key"]
    chosen = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
    connection.sendall(
        (f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         f"Sec-WebSocket-Accept: {accept_value(key)}\r\n{chosen}"
         f"Culvert-Nonce: {os.urandom(16).hex()}\r\n\r\n").encode())
    return head
