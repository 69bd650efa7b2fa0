"""Long poll by raw HTTP, which can also be as wrong as a test wants."""

import re
import socket

from culvert.peers import TIMEOUT
from culvert.wire import BINARY, Closed, Link


class Answer:
    """A response: `fields` by their names in lower case."""

    def __init__(self, head, body):
        lines = head.decode("ascii").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.fields = {name.lower(): value for name, _, value in
                       (line.partition(": ") for line in lines[1:])}
        self.body = body


def request(fields, body=b"", length=None, method="POST", version="1.1", extra=""):
    """A request of these fields; `length` is a length to state instead of the body's, "" none."""
    text = f"{method} /a?b HTTP/{version}\r\nHost: localhost\r\n"
    text += "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + extra
    if length != "":
        text += f"Content-Length: {len(body) if length is None else length}\r\n"
    return text.encode() + b"\r\n" + body


class Http:
    """A connection that is kept for one request after the other."""

    def __init__(self, port, context=None, address="127.0.0.1", opening=b""):
        self.connection = socket.create_connection((address, port), timeout=TIMEOUT)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.sendall(opening)
        if context:
            self.connection = context.wrap_socket(self.connection, server_hostname="localhost")
        self._received = b""

    def close(self):
        self.connection.close()

    def send(self, fields, body=b"", **options):
        self.connection.sendall(request(fields, body, **options))

    def _read(self):
        data = self.connection.recv(256 * 1024)
        if not data:
            raise Closed
        self._received += data

    def receive(self, timeout=TIMEOUT):
        """The next Answer; raises Closed when the peer has ended instead."""
        self.connection.settimeout(timeout)
        try:
            while b"\r\n\r\n" not in self._received:
                self._read()
            head, _, rest = self._received.partition(b"\r\n\r\n")
            size = re.search(rb"^Content-Length: (\d+)\r?$", head, re.M | re.I)
            size = int(size[1]) if size else 0
            pieces, self._received = [rest], b""
            missing = size - len(rest)
            while missing > 0:
                data = self.connection.recv(min(missing, 256 * 1024))
                if not data:
                    raise Closed
                pieces.append(data)
                missing -= len(data)
        except (ConnectionResetError, BrokenPipeError):
            raise Closed from None
        whole = b"".join(pieces)
        self._received = whole[size:]
        return Answer(head, whole[:size])

    def ask(self, fields, body=b"", timeout=TIMEOUT, **options):
        self.send(fields, body, **options)
        return self.receive(timeout)

    def is_closed(self, timeout=TIMEOUT):
        """Whether the peer ends the connection, having sent nothing more."""
        self.connection.settimeout(timeout)
        try:
            return self.connection.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


class Poll(Link):
    """A link over long poll, message by message, with a connection for what goes up and one for what
    comes down, or `on` for both."""

    def __init__(self, world, gateway, fields=(), context=None, on=None, **options):
        super().__init__(None, b"", None)
        self.world = world
        self.gateway = gateway
        self.context = context
        self.options = options
        self.taken = 0  # bodies that went up
        self.arrived = 0  # and came down
        self.asking, self.bringing = on or self.dial(), on or self.dial()
        self.opened = self.asking.ask({"Culvert-Poll": "open", **dict(fields)})
        assert self.opened.status == 200, self.opened.status
        self.id = self.opened.fields["culvert-poll"]
        self.nonce = bytes.fromhex(self.opened.fields["culvert-nonce"])
        self.response = f"Culvert-Nonce: {self.nonce.hex()}"

    def dial(self):
        return self.world.keep(Http(self.gateway.port, self.context, **self.options))

    def up_fields(self, number):
        return {"Culvert-Poll": self.id, "Culvert-Up": number,
                "Content-Type": "application/octet-stream"}

    def down_fields(self, number):
        return {"Culvert-Poll": self.id, "Culvert-Down": number}

    def up(self, number, body, on=None):
        """The status of bringing this body."""
        return (on or self.bringing).ask(self.up_fields(number), body).status

    def down(self, number, on=None, timeout=TIMEOUT):
        return (on or self.asking).ask(self.down_fields(number), timeout=timeout)

    def send(self, payload):
        self.taken += 1
        status = self.up(self.taken, payload)
        if status == 410:
            raise Closed
        assert status == 200, status

    def receive_frame(self, timeout=TIMEOUT):
        answer = self.down(self.arrived + 1, timeout=timeout)
        while answer.status == 204:
            answer = self.down(self.arrived + 1, timeout=timeout)
        if answer.status == 410:
            raise Closed
        assert answer.status == 200, answer.status
        self.arrived += 1
        assert answer.fields["culvert-down"] == str(self.arrived)
        return BINARY, True, answer.body
