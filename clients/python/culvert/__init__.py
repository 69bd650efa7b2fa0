"""Forward ports through a running culvert agent.

>>> import culvert
>>> with culvert.connect(remotegw="gw1", addr="192.168.10.12", port=22, localport=2022):
...     ...  # port 2022 of this machine leads to port 22 of 192.168.10.12 as gw1 sees it

The agent is the one that $CULVERT_API and $CULVERT_TOKEN name, or this user's own on this machine
(`culvert agent --api 127.0.0.1:7070 ...`); `culvert.Agent` names another.
"""

from __future__ import annotations

from typing import Optional

from .agent import Agent
from .errors import BadRequest, Conflict, ConnectionFailed, Error, NotFound, Unauthorized
from .forward import Forward
from .records import Session, Status

__all__ = ["Agent", "BadRequest", "Conflict", "ConnectionFailed", "Error", "Forward", "NotFound",
           "Session", "Status", "Unauthorized", "connect"]
__version__ = "0.1.0"


def connect(remotegw: str, addr: str, port: int, localport: int = 0, bind: Optional[str] = None,
            key: Optional[str] = None) -> Forward:
    """`Agent.connect` of the default agent."""
    return Agent().connect(remotegw, addr, port, localport, bind, key)
