"""A proxy of Hubble 0.1: a table of names, and sessions passed on between their connections."""

import inspect
from contextlib import suppress

import websockets

from hubble.messages import (ACK, CONNECTION_CLOSED, DATA, HANDSHAKE, INITIATOR, TERMINATOR,
                             VERSION, Malformed, acknowledge, decode, encode)

FRAME_SIZE = 1024


class Dropped(Exception):
    """This connection is to be closed."""


class Connection:
    """An agent's connection and the sessions that it may speak of."""

    def __init__(self, socket, name):
        self.socket = socket
        self.name = name
        self.sessions = {}

    async def send(self, message):
        """Sends in frames as the original's write buffer cuts them; a dead agent takes none."""
        frames = [message[at:at + FRAME_SIZE] for at in range(0, len(message), FRAME_SIZE)]
        with suppress(websockets.ConnectionClosed):
            await self.socket.send(frames if len(frames) > 1 else message)


class Proxy:
    """`authorize` gets the fields of an initiator message and says True or False, also as a
    coroutine; whatever else it does is its failure."""

    def __init__(self, authorize=lambda request: True):
        self._authorize = authorize
        self._server = None
        self.names = {}
        self.connections = set()

    async def start(self, port=0, context=None):
        """Listens on loopback and returns the port."""
        self._server = await websockets.serve(
            self._serve, "127.0.0.1", port, ssl=context, compression=None, max_size=None,
            max_queue=1, ping_interval=None, close_timeout=0.2, process_request=self._check_request)
        return self._server.sockets[0].getsockname()[1]

    async def close(self):
        """Ends everything as a process does that ends."""
        for connection in list(self.connections):
            connection.socket.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    @staticmethod
    async def _check_request(_path, headers):
        if headers.get("Upgrade", "").lower() != "websocket":
            return 400, [], b"Bad Request\n"
        return None

    async def _serve(self, socket, _path=None):
        try:
            connection = await self._register(socket)
            try:
                while True:
                    await self._route(connection, *decode(await socket.recv()))
            finally:
                await self._forget(connection)
        except (Dropped, Malformed, websockets.ConnectionClosed):
            pass
        finally:
            socket.transport.close()
            await socket.wait_closed()

    async def _register(self, socket):
        kind, body = decode(await socket.recv())
        if kind != HANDSHAKE:
            raise Dropped
        connection = Connection(socket, body["Name"])
        if body["Version"] != VERSION:
            await connection.send(acknowledge(error="Invalid protocol version"))
            raise Dropped
        self.names[connection.name] = connection
        self.connections.add(connection)
        await connection.send(acknowledge())
        return connection

    async def _forget(self, connection):
        self.connections.discard(connection)
        # Whoever has the name by now: it is gone, as at the original.
        self.names.pop(connection.name, None)
        for guid, other in connection.sessions.items():
            await other.send(encode(TERMINATOR, GUID=guid))

    async def _route(self, sender, kind, body):
        guid = body.get("GUID")
        if kind == INITIATOR:
            await self._open(sender, guid, body)
        elif kind in (DATA, ACK) and guid in sender.sessions:
            await sender.sessions[guid].send(encode(kind, **body))
        elif kind == CONNECTION_CLOSED and guid in sender.sessions:
            other = sender.sessions.pop(guid)
            await other.send(encode(TERMINATOR, GUID=guid))
            if guid in other.sessions:
                await sender.send(encode(TERMINATOR, GUID=guid))

    async def _open(self, sender, guid, body):
        error = await self._refusal(body)
        responder = self.names.get(body["Gatename"])
        if error is None and responder is None:
            error = "Gateway not registered"
        if error is not None:
            await sender.send(acknowledge(guid, error))
            return
        sender.sessions[guid] = responder
        responder.sessions[guid] = sender
        await responder.send(encode(INITIATOR, **body))

    async def _refusal(self, body):
        try:
            verdict = self._authorize(body)
            if inspect.isawaitable(verdict):
                verdict = await verdict
        except Exception:  # Whatever an authorizer does wrong, it is one answer.
            return "Authorization error."
        if verdict is True:
            return None
        return "Unauthorized" if verdict is False else "Authorization error."
