"""A policy script asked without a gateway: the test talks to `culvert lua-worker` as the pool does,
in frames of four bytes of length and JSON. And a web service that a script may ask."""

import http.server
import json
import os
import socket
import struct
import subprocess
import threading

from culvert.world import BINARY, environment

TIMEOUT = 30.0
MEMORY = 64 * 1024 * 1024
REQUEST = {"source": "laptop", "user": "ann", "address": "192.0.2.7:50110", "kind": "tcp",
           "agent": "office", "host": "127.0.0.1", "port": 22, "key": ""}


class Answer:
    """What the script answered, and what it printed before."""

    def __init__(self, verdict, printed):
        self.verdict = verdict["verdict"]
        self.reason = verdict["reason"]
        self.printed = printed


class Script:
    """A process that has read the script."""

    def __init__(self, text, memory=MEMORY, **variables):
        self._socket, other = socket.socketpair()
        self._socket.settimeout(TIMEOUT)
        with other:
            number = other.fileno()
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", "bash", "-c",
                 f"exec \"$0\" lua-worker 3<&{number} {number}<&-" if number != 3 else
                 "exec \"$0\" lua-worker", BINARY],
                pass_fds=[number], stdin=subprocess.DEVNULL, env=environment(**variables))
        self._send(json.dumps({"name": "policy.lua", "memory": memory}).encode())
        self._send(text if isinstance(text, bytes) else text.encode())
        self.printed = []
        self.loaded = self._receive_answer()

    def _send(self, data):
        self._socket.sendall(struct.pack(">I", len(data)) + data)

    def _receive_exactly(self, size):
        data = b""
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            assert piece, f"the script's process ended with {self._process.wait(TIMEOUT)}"
            data += piece
        return data

    def _receive(self):
        size, = struct.unpack(">I", self._receive_exactly(4))
        return json.loads(self._receive_exactly(size))

    def _receive_answer(self):
        while "log" in (answer := self._receive()):
            self.printed.append(answer["log"])
        return answer

    def ask(self, **request):
        """The answer of connect(request)."""
        return self._ask({"ask": "connect", **REQUEST, **request})

    def register(self, **agent):
        """The answer of register(agent)."""
        return self._ask({"ask": "register", **REQUEST, **agent})

    def tell(self, **event):
        """Gives an event to on_event."""
        return self._ask({"ask": "event", "event": event})

    def _ask(self, question):
        self.printed = []
        self._send(json.dumps(question, ensure_ascii=False).encode())
        return Answer(self._receive_answer(), self.printed)

    def close(self):
        """The process ends by itself when it hears nothing more."""
        self._socket.close()
        code = self._process.wait(TIMEOUT)
        assert code == 0, f"the script's process ended with {code}"


def example(name):
    """The text of one of the example scripts."""
    from culvert.world import ROOT
    with open(os.path.join(ROOT, "examples", "lua", name), encoding="utf-8") as file:
        return file.read()


class WebService:
    """A web service that answers POSTs by what `answer(request)` returns, a status and an object."""

    def __init__(self, answer):
        self.requests = []
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.requests.append(request)
                status, value = answer(request)
                body = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/may"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,),
                                        daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
