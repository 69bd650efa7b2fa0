"""A running agent, called through its API."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Dict, List, Optional, Type

from . import place as places
from .errors import NotFound
from .forward import Forward
from .records import Session, Status, read, unexpected
from .transport import Transport


class Agent:
    """A running `culvert agent --api ...`.

    `url` is http://HOST:PORT or unix:PATH. Without it, $CULVERT_API names the agent, or else the
    one of this user that runs on this machine is found by what it has left in its state directory;
    the same holds for `token` and $CULVERT_TOKEN. The token of the state directory is sent to this
    machine only. `timeout` is the time in seconds that a call may wait for the agent.

    Every method raises `culvert.Error` when it fails. Threads may share an agent. Nothing is sent
    before the first call.
    """

    def __init__(self, url: Optional[str] = None, token: Optional[str] = None, *,
                 timeout: float = 30.0) -> None:
        place = places.find() if url is None else places.parse(url)
        if token is None:
            token = places.find_token(place)
        self._transport = Transport(place, token, timeout)

    @property
    def url(self) -> str:
        """Where the agent's API is."""
        return str(self._transport.place)

    def connect(self, remotegw: str, addr: str, port: int, localport: int = 0,
                bind: Optional[str] = None, key: Optional[str] = None) -> Forward:
        """Lets the agent forward a local port to `port` of `addr`, as the agent `remotegw` sees it.

        `localport` 0 is any free port; the forward's `localport` tells which. `bind` is where to
        listen: loopback if it is not given, an address of this machine, "localhost", or "*" for
        all. `key` is a connection key for the gateway's policy.

        The port is open when this returns. The forward stays until it is closed, also when this
        program ends; use it as a context manager to have it removed behind a block.
        """
        wanted: Dict[str, Any] = {"local": localport, "gateway": remotegw, "ip": addr,
                                  "remote": port}
        if bind is not None:
            wanted["bind"] = bind
        if key is not None:
            wanted["key"] = key
        return Forward(self._transport, self._transport.call("POST", "/v1/forwards", wanted))

    def _list(self, what: str) -> List[Any]:
        answer = self._transport.call("GET", f"/v1/{what}")
        found = answer.get(what) if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise unexpected()
        return found

    def forwards(self) -> List[Forward]:
        """All forwards of the agent, whoever asked for them."""
        return [Forward(self._transport, one) for one in self._list("forwards")]

    def forward(self, number: int) -> Forward:
        """The forward with this id; NotFound if there is none."""
        return Forward(self._transport, self._transport.call("GET", f"/v1/forwards/{number:d}"))

    def sessions(self) -> List[Session]:
        """The agent's sessions, the oldest first, 10000 of them at most."""
        return [read(Session, one) for one in self._list("sessions")]

    def reset(self, session: Session) -> None:
        """Ends a session at once, both ways. It is no error if it has ended already."""
        try:
            self._transport.call("DELETE", f"/v1/sessions/{session.id:d}")
        except NotFound:
            pass

    def status(self) -> Status:
        """How the agent is: its link, and how many forwards and sessions it has."""
        return read(Status, self._transport.call("GET", "/v1/status"))

    def close(self) -> None:
        """Closes the connection to the API. The forwards stay; a later call connects anew."""
        self._transport.close()

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<culvert.Agent {self.url}>"
