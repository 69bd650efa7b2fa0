"""An agent's API as far as the client's tests need it, over TCP or a unix socket."""

import json
import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

TOKEN = "a-token"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    wbufsize = -1  # one write an answer

    def setup(self):
        super().setup()
        self.server.agent.connections += 1

    def address_string(self):
        return "a client"

    def log_message(self, *_):
        pass

    def _serve(self):
        agent = self.server.agent
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        agent.requests.append((self.command, self.path, dict(self.headers),
                               json.loads(body) if body else None))
        answer = agent.answers.pop(0) if agent.answers else agent.answer(self)
        if answer is None:  # ends without a word
            self.close_connection = True
            return
        status, content = answer
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if status != 204:
            self.wfile.write(data)
        self.close_connection = agent.closes

    do_GET = do_POST = do_DELETE = _serve


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False


class FakeAgent:
    """Remembers what it was asked. `answers` come first, (status, JSON or bytes) or None for an end
    without an answer; then it answers as an agent with `forwards` and `sessions`."""

    def __init__(self, path=None):
        self.requests = []
        self.answers = []
        self.connections = 0
        self.closes = False
        self.forwards = {}
        self.sessions = {}
        self._last = 0
        self._server = _UnixServer(path, _Handler) if path else _TcpServer(("127.0.0.1", 0), _Handler)
        self._server.agent = self
        self.url = f"unix:{path}" if path else f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request):
        """What a real one would say."""
        if request.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.problem(401, "the API's token is missing or wrong")
        words = request.path.strip("/").split("/")[1:]
        if words == ["status"]:
            return 200, status()
        if words == ["forwards"] and request.command == "POST":
            return self.add(self.requests[-1][3])
        table = {"forwards": self.forwards, "sessions": self.sessions}.get(words[0])
        if table is None:
            return self.problem(404, "the API has nothing at this path")
        if len(words) == 1:
            return 200, {words[0]: list(table.values()), "total": len(table)}
        number = int(words[1])
        if number not in table:
            return self.problem(404, f"there is no such {words[0][:-1]}")
        if request.command == "DELETE":
            del table[number]
            return 204, None
        return 200, table[number]

    def add(self, wanted):
        self._last += 1
        one = forward(id=self._last, local=wanted["local"] or 40000 + self._last,
                      bind=wanted.get("bind") or "127.0.0.1", gateway=wanted["gateway"],
                      ip=wanted["ip"], remote=wanted["remote"], has_key="key" in wanted)
        self.forwards[one["id"]] = one
        return 201, one

    @staticmethod
    def problem(status_code, detail, **more):
        return status_code, {"type": "about:blank", "title": "T", "status": status_code,
                             "detail": detail, **more}


def forward(**fields):
    return {"id": 1, "local": 2022, "bind": "127.0.0.1", "gateway": "gw1", "ip": "192.168.10.12",
            "remote": 22, "has_key": False, "source": "api", "listening": True, "open": 0,
            "total": 0, "sent": 0, "received": 0, **fields}


def session(**fields):
    return {"id": 7, "direction": "out", "forward": 1, "agent": "gw1", "ip": "192.168.10.12",
            "remote": 22, "client": "127.0.0.1:53412", "sent": 10, "received": 20, "seconds": 3.5,
            **fields}


def status(**fields):
    return {"name": "agent1", "version": "0.1.0", "gateway": "wss://gw.example", "connected": True,
            "dialect": "culvert.1", "connected_seconds": 12.5, "uptime_seconds": 33.0,
            "forwards": 2, "sessions": 1, **fields}


def closed_port():
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
