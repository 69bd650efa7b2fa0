"""Where an agent's API is, and the token that its calls carry."""

from __future__ import annotations

import ipaddress
import os
import stat
from dataclasses import dataclass
from typing import Optional
from urllib.parse import urlsplit

from .errors import ConnectionFailed

_NO_AGENT = ("no agent of yours serves an API on this machine: start one with "
             "--api 127.0.0.1:7070, or say where it is (the URL, or $CULVERT_API)")


@dataclass(frozen=True)
class Place:
    """An API's address: a TCP host and port, or the path of a unix socket."""

    host: str
    port: int
    prefix: str = ""
    is_tls: bool = False
    socket_path: Optional[str] = None

    def __str__(self) -> str:
        if self.socket_path is not None:
            return f"unix:{self.socket_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.is_tls else ''}://{host}:{self.port}{self.prefix}"

    def is_here(self) -> bool:
        """Whether what is sent there stays on this machine."""
        if self.socket_path is not None or self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse(url: str) -> Place:
    """http://HOST:PORT, https://..., HOST:PORT or unix:PATH; ValueError for anything else."""
    if url.startswith("unix:"):
        path = url[len("unix:"):]
        if not path:
            raise ValueError("unix: needs a path behind it")
        return Place("localhost", 0, socket_path=path)
    if "://" not in url:
        url = "http://" + url
    parts = urlsplit(url)
    if (parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc
            or "\\" in url or parts.query or parts.fragment):
        raise ValueError("an API is at http://HOST:PORT or at unix:PATH")
    is_tls = parts.scheme == "https"
    port = parts.port if parts.port is not None else (443 if is_tls else 80)
    return Place(parts.hostname, port, parts.path.rstrip("/"), is_tls)


def state_directory() -> str:
    """The directory in which a user's agents leave their URL and token."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if state.startswith("/"):
        return os.path.join(state, "culvert")
    if os.geteuid() == 0:
        return "/var/lib/culvert"
    return os.path.join(os.path.expanduser("~"), ".local", "state", "culvert")


def _read(name: str) -> str:
    with open(os.path.join(state_directory(), name), encoding="utf-8") as file:
        return file.read().strip()


def find() -> Place:
    """The default agent: $CULVERT_API, else what a running agent has left."""
    url = os.environ.get("CULVERT_API", "")
    try:
        return parse(url or _read("api-url"))
    except OSError:
        raise ConnectionFailed(_NO_AGENT) from None


def find_token(place: Place) -> str:
    """$CULVERT_TOKEN, else that of the state directory, which goes to this machine alone."""
    token = os.environ.get("CULVERT_TOKEN", "")
    if token:
        return token
    if not place.is_here():
        raise ConnectionFailed(f"the API at {place} is not on this machine; give its token, or set "
                               "CULVERT_TOKEN")
    path = os.path.join(state_directory(), "api-token")
    try:
        if os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConnectionFailed(f"{path}: others may read or write it; the file of a token should "
                                   "have mode 0600")
        return _read("api-token")
    except OSError as error:
        raise ConnectionFailed(f"{path}: {error.strerror}; give the token, or set CULVERT_TOKEN"
                               ) from None
