"""A forward of a running agent."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Optional, Tuple, Type

from .errors import Error, NotFound
from .records import unexpected
from .transport import Transport


class Forward:
    """A local port from which the agent carries connections to a target that another agent dials.

    As a context manager it is there inside the block and removed behind it. Connections that are
    open then go on until they end. The counters are those of the last answer of the agent;
    `refresh` asks for new ones.
    """

    #: The agent's number for it, never used again.
    id: int
    #: The port that it listens on, and where: an address, a name, or "*" for all addresses.
    localport: int
    bind: str
    #: The agent that dials, and the host and port that it dials.
    remotegw: str
    addr: str
    port: int
    #: Whether sessions carry a connection key; the agent never tells the key itself.
    has_key: bool
    #: Who asked for it: "rule" (the agent's command line), "file" or "api".
    source: str
    #: False if the agent could not open the port again when it was restarted.
    listening: bool
    #: Its sessions that are open, and all so far.
    open: int
    total: int
    #: Bytes from the local clients to the target, and back.
    sent: int
    received: int

    def __init__(self, transport: Transport, answer: Any) -> None:
        self._transport = transport
        self._take(answer)

    def _take(self, answer: Any) -> None:
        try:
            self.id = int(answer["id"])
            self.localport = int(answer["local"])
            self.bind = str(answer["bind"])
            self.remotegw = str(answer["gateway"])
            self.addr = str(answer["ip"])
            self.port = int(answer["remote"])
            self.has_key = bool(answer["has_key"])
            self.source = str(answer["source"])
            self.listening = bool(answer.get("listening", True))
            self.open = int(answer["open"])
            self.total = int(answer["total"])
            self.sent = int(answer["sent"])
            self.received = int(answer["received"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise unexpected() from None

    @property
    def address(self) -> Tuple[str, int]:
        """Where a program on this machine connects to, as socket.create_connection takes it."""
        return ("127.0.0.1" if self.bind in ("*", "0.0.0.0") else
                "::1" if self.bind == "::" else self.bind, self.localport)

    def refresh(self) -> Forward:
        """Asks the agent for the counters; NotFound if the forward is gone. Returns itself."""
        self._take(self._transport.call("GET", f"/v1/forwards/{self.id}"))
        return self

    def close(self) -> None:
        """Removes the forward from the agent. It is no error if it is gone already."""
        try:
            self._transport.call("DELETE", f"/v1/forwards/{self.id}")
        except NotFound:
            pass

    def __enter__(self) -> Forward:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        try:
            self.close()
        except Error:
            if kind is None:  # what went wrong in the block is what its reader wants to know
                raise

    def __repr__(self) -> str:
        return (f"<culvert.Forward {self.id}: {self.bind}:{self.localport} -> "
                f"{self.remotegw}:{self.addr}:{self.port}>")
