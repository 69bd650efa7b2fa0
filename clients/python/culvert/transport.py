"""Calls of the API over HTTP: one connection, kept open between calls, used by one at a time."""

from __future__ import annotations

import http.client
import json
import select
import socket
import threading
from typing import Any, Dict, List, Optional, Tuple

from .errors import ConnectionFailed, for_status
from .place import Place

#: More than the longest answer that an agent gives.
_MOST_BYTES = 64 * 1024 * 1024
_PIECE = 64 * 1024


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._patience = timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self._patience)
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


def _reason(error: BaseException) -> str:
    if isinstance(error, socket.timeout):
        return "it took too long"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _read(response: http.client.HTTPResponse) -> bytes:
    """The body, in pieces, since older versions of Python make room for all that is asked for."""
    pieces: List[bytes] = []
    size = 0
    while True:
        piece = response.read(_PIECE)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
        if size > _MOST_BYTES:
            raise http.client.HTTPException("its answer is too long")


class Transport:
    """The way to one agent. Any thread may call."""

    def __init__(self, place: Place, token: str, timeout: float) -> None:
        if not token or not token.isascii() or not token.isprintable():
            raise ValueError("the token is not one line of ASCII characters")
        self.place = place
        self._token = token
        self._timeout = timeout
        self._lock = threading.Lock()
        self._connection: Optional[http.client.HTTPConnection] = None

    def close(self) -> None:
        """Closes the connection; a later call opens another."""
        with self._lock:
            self._drop()

    def __del__(self) -> None:
        if getattr(self, "_connection", None) is not None:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> http.client.HTTPConnection:
        place = self.place
        if place.socket_path is not None:
            return _UnixConnection(place.socket_path, self._timeout)
        if place.is_tls:
            return http.client.HTTPSConnection(place.host, place.port, timeout=self._timeout)
        return http.client.HTTPConnection(place.host, place.port, timeout=self._timeout)

    def _ready(self, method: str) -> Tuple[http.client.HTTPConnection, bool]:
        """A connection, and whether it has been used before. What must not be done twice goes over
        a new one, where nobody needs to ask whether it arrived if the agent had just ended it."""
        kept = self._connection
        if kept is not None and kept.sock is not None and method != "POST":
            poll = select.poll()
            poll.register(kept.sock, select.POLLIN)
            # What is readable now is the end that the agent has put to an idle connection.
            if not poll.poll(0):
                return kept, True
        self._drop()
        self._connection = self._open()
        return self._connection, False

    def _exchange(self, method: str, path: str, body: Optional[bytes]) -> Tuple[int, bytes]:
        headers: Dict[str, str] = {"Authorization": f"Bearer {self._token}",
                                   "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        while True:
            connection, is_kept = self._ready(method)
            try:
                connection.request(method, self.place.prefix + path, body, headers)
                response = connection.getresponse()
                answer = _read(response)
                if response.will_close:
                    self._drop()
                return response.status, answer
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                # The agent may have ended the idle connection at this very moment.
                if is_kept and isinstance(error, ConnectionError):
                    continue
                raise ConnectionFailed(
                    f"the API at {self.place} does not answer: {_reason(error)}") from error
            except BaseException:  # an interrupted exchange leaves an answer behind
                self._drop()
                raise

    def call(self, method: str, path: str, body: Optional[Dict[str, Any]] = None) -> Any:
        """The answer's JSON, None if it has none; an Error if the agent refuses."""
        data = None if body is None else json.dumps(body).encode("utf-8")
        with self._lock:
            status, answer = self._exchange(method, path, data)
        try:
            content = json.loads(answer) if answer else None
        except ValueError:
            if status < 300:
                raise ConnectionFailed(
                    f"the answer of {self.place} is not JSON; is it an agent's API?") from None
            content = None
        if status < 300:
            return content
        problem = content if isinstance(content, dict) else {}
        detail = problem.get("detail")
        field = problem.get("field")
        raise for_status(status,
                         detail if isinstance(detail, str) and detail
                         else f"the API answered with status {status}",
                         field if isinstance(field, str) else None)
