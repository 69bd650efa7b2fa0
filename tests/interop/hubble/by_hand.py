"""Both ends of a 0.1 connection spoken by the test itself, as raw bytes on a blocking socket."""

import base64
import os
import socket
from contextlib import suppress

from culvert.peers import TIMEOUT, Server
from culvert.wire import (BINARY, CONTINUATION, PING, PONG, Closed, WebSocket, accept_value, frame)
from hubble.messages import (ACK, DATA, HANDSHAKE, INITIATOR, VERSION, acknowledge, decode, encode)


def upgrade_request(path="/", fields=()):
    """What an original agent sends."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket",
             "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
             *fields]
    return key, ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_head(connection):
    """(lines, rest): an HTTP message's head and what came behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), rest


def header_fields(lines):
    """Names in lower case; none may come twice."""
    pairs = [line.split(": ", 1) for line in lines[1:]]
    fields = {name.lower(): value for name, value in pairs}
    assert len(fields) == len(pairs), lines
    return fields


class Peer(WebSocket):
    """One end, message by message. Pings are answered unless told otherwise; so are no acks."""

    def __init__(self, connection, received, is_client, head):
        super().__init__(connection, received)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._is_client = is_client
        self.request_line, *_ = head
        self.fields = header_fields(head)
        self.answers_pings = True
        self.pings = 0

    def send_frame(self, opcode, payload=b"", **options):
        self.send_raw(frame(opcode, payload, masked=self._is_client, **options))

    def send(self, payload):
        self.send_frame(BINARY, payload)

    def send_message(self, kind, **fields):
        self.send(encode(kind, **fields))

    def send_pieces(self, payload, *sizes):
        """One message in several frames, as the original proxy's buffer cuts it."""
        opcode = BINARY
        for size in sizes:
            piece, payload = payload[:size], payload[size:]
            self.send_frame(opcode, piece, fin=not payload)
            opcode = CONTINUATION
        assert not payload

    def next_event(self, timeout=TIMEOUT):
        """(opcode, payload) of the next whole message or control frame."""
        message, kind = b"", None
        while True:
            opcode, is_last, payload = self.receive_frame(timeout)
            if opcode in (PING, PONG):
                if opcode == PING:
                    self.pings += 1
                    if self.answers_pings:
                        self.send_frame(PONG, payload)
                return opcode, payload
            kind = kind or opcode
            message += payload
            if is_last:
                assert kind == BINARY, f"a message of kind {kind}"
                return kind, message

    def receive_message(self, timeout=TIMEOUT):
        """The bytes of the next message."""
        while True:
            opcode, payload = self.next_event(timeout)
            if opcode == BINARY:
                return payload

    def receive(self, timeout=TIMEOUT):
        """(type, fields) of the next message."""
        return decode(self.receive_message(timeout))

    def expect(self, kind, timeout=TIMEOUT, **fields):
        """The next message is of this type and has these values; returns all of them."""
        found, body = self.receive(timeout)
        assert found == kind and fields.items() <= body.items(), (found, body, kind, fields)
        return body

    def expect_bytes(self, expected):
        found = self.receive_message()
        assert found == expected, (found, expected)

    def expect_data(self, guid, expected, order=1):
        """Data messages with these bytes, in order from `order`; returns the next number."""
        data = b""
        while len(data) < len(expected):
            body = self.expect(DATA, GUID=guid, Order=order)
            data += body["Data"]
            order += 1
        assert data == expected
        return order

    def drain(self, payload=b"anything?"):
        """The messages that come before a ping is answered."""
        self.send_frame(PING, payload)
        messages = []
        while (event := self.next_event()) != (PONG, payload):
            if event[0] == BINARY:
                messages.append(event[1])
        return messages

    def expect_nothing(self, payload=b"anything?"):
        """A ping is answered, and nothing comes before its pong."""
        assert self.drain(payload) == []

    def expect_end(self, timeout=TIMEOUT):
        """The peer closes TCP, with no message before."""
        try:
            opcode = PING
            while opcode == PING:
                opcode, payload = self.next_event(timeout)
            raise AssertionError(f"{payload!r} came, not the end")
        except Closed:
            self.wait_tcp_closed(timeout)

    def wait_tcp_closed(self, timeout=TIMEOUT):
        """Reads what still comes, until the peer has closed TCP."""
        self.connection.settimeout(timeout)
        try:
            while self.connection.recv(65536):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass

    # What agents and proxies say, for tests that are not about it.

    def shake_hands(self, name, key="", **fields):
        """Registers and returns the answer's fields."""
        self.send_message(HANDSHAKE, **{"Version": VERSION, "Name": name, "Key": key, **fields})
        return self.expect(ACK, GUID="")

    def open(self, guid, gateway, port, host="127.0.0.1", key=""):
        self.send_message(INITIATOR, GUID=guid, RemoteHost=host, RemotePort=port,
                          Gatename=gateway, Key=key)

    def accept(self):
        """Takes the next session: its initiator's fields, acknowledged."""
        body = self.expect(INITIATOR)
        self.send(acknowledge(body["GUID"]))
        return body

    def send_data(self, guid, data, order=1, size=1024):
        """Sends in pieces and returns the next number."""
        for at in range(0, len(data), size):
            self.send_message(DATA, GUID=guid, Order=order, Data=data[at:at + size])
            order += 1
        return order


def dial(port, path="/", fields=(), receive_buffer=None):
    """Connects to a proxy and upgrades as an original agent does, which is strict about the
    answer."""
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(TIMEOUT)
    connection.connect(("127.0.0.1", port))
    key, request = upgrade_request(path, fields)
    connection.sendall(request)
    head, rest = read_head(connection)
    peer = Peer(connection, rest, True, head)
    assert head[0].startswith("HTTP/1.1 101 "), head
    assert peer.fields["upgrade"].lower() == "websocket"
    assert peer.fields["connection"].lower() == "upgrade"
    assert peer.fields["sec-websocket-accept"] == accept_value(key)
    assert "sec-websocket-protocol" not in peer.fields
    assert "sec-websocket-extensions" not in peer.fields
    return peer


class Station:
    """A proxy that the test plays: agents connect, the test answers."""

    def __init__(self, port=0):
        self._server = Server(port=port)
        self.port = self._server.port

    def url(self, host="127.0.0.1", path=""):
        return f"ws://{host}:{self.port}{path}"

    def upgrade(self, timeout=TIMEOUT, fields=()):
        """The next agent, upgraded as an original proxy does it; `fields` come on top."""
        connection = self._server.accept(timeout)
        head, rest = read_head(connection)
        peer = Peer(connection, rest, False, head)
        accept = accept_value(peer.fields["sec-websocket-key"])
        answer = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
                  f"Sec-WebSocket-Accept: {accept}", *fields]
        connection.sendall(("\r\n".join(answer) + "\r\n\r\n").encode())
        return peer

    def register(self, timeout=TIMEOUT):
        """(agent, handshake's fields): the next agent, registered."""
        peer = self.upgrade(timeout)
        body = peer.expect(HANDSHAKE, Version=VERSION)
        peer.send(acknowledge())
        return peer, body

    def close(self):
        self._server.close()


def expect_closed_connection():
    """For what may fail because the peer is gone."""
    return suppress(Closed, ConnectionResetError, BrokenPipeError)
