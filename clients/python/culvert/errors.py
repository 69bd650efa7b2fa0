"""What can go wrong, as exceptions that carry what the agent said about it."""

from __future__ import annotations

from typing import Optional


class Error(Exception):
    """A call of the agent's API that did not go well."""

    #: The HTTP status of the agent's answer; None if there was none.
    status: Optional[int]
    #: What is wrong, in a sentence.
    detail: str
    #: The field of the request that is wrong, by its name in the API (docs/agent-api.md), if it is
    #: one: "local", "gateway", "ip", "remote", "bind" or "key".
    field: Optional[str]

    def __init__(self, detail: str, status: Optional[int] = None,
                 field: Optional[str] = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.field = field


class ConnectionFailed(Error):
    """No agent was found, it did not answer, or what answered is no agent."""


class BadRequest(Error):
    """The agent cannot do this: a field is wrong, which `field` names."""


class Unauthorized(Error):
    """The token is missing or wrong, or the agent was called by an address not its own."""


class NotFound(Error):
    """There is no such forward or session; it may have been removed."""


class Conflict(Error):
    """The local port is in use, or the agent has as many forwards as it can."""


def for_status(status: int, detail: str, field: Optional[str]) -> Error:
    """The exception that stands for a status of 300 or more."""
    kinds = {401: Unauthorized, 403: Unauthorized, 404: NotFound, 409: Conflict}
    kind = kinds.get(status, BadRequest if 400 <= status < 500 else Error)
    return kind(detail, status, field)
