"""What an agent tells of itself and of its sessions."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Dict, Optional, Type, TypeVar

from .errors import ConnectionFailed

_Record = TypeVar("_Record", "Status", "Session")


def unexpected() -> ConnectionFailed:
    """For an answer that is JSON, but not the one that was asked for."""
    return ConnectionFailed("the answer is not what was asked for; is it an agent's API?")


@dataclass(frozen=True)
class Status:
    """How an agent is."""

    name: str
    version: str
    #: The gateway's URL.
    gateway: str
    #: Whether the agent is registered there now.
    connected: bool
    #: What its link speaks, such as "culvert.1"; None without a link.
    dialect: Optional[str]
    #: Since when there is a link; None without one.
    connected_seconds: Optional[float]
    uptime_seconds: float
    #: How many forwards and sessions it has.
    forwards: int
    sessions: int


@dataclass(frozen=True)
class Session:
    """A session, as it was when the agent was asked."""

    id: int
    #: "out": of a local client; "in": dialled here for another agent.
    direction: str
    #: The id of the forward it came through, which may be gone; None if it is "in".
    forward: Optional[int]
    #: "out": the agent that dials; "in": the one that asks.
    agent: str
    #: The target.
    addr: str
    port: int
    #: The address of the client that asked.
    client: str
    #: Bytes from the client to the target, and back.
    sent: int
    received: int
    #: How long it has lasted.
    seconds: float


_NAMES = {"addr": "ip", "port": "remote"}


def read(kind: Type[_Record], answer: Any) -> _Record:
    """The record that a piece of an answer describes. What is new in it is left aside."""
    if not isinstance(answer, dict):
        raise unexpected()
    values: Dict[str, Any] = {}
    for field in fields(kind):
        name = _NAMES.get(field.name, field.name)
        if name not in answer:
            raise unexpected()
        values[field.name] = answer[name]
    return kind(**values)
