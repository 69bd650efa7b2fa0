"""An agent of Hubble 0.1: listens for its tunnels, dials for others' sessions."""

import asyncio
import re
import uuid
from contextlib import suppress

import websockets

from hubble.messages import (ACK, CONNECTION_CLOSED, DATA, HANDSHAKE, INITIATOR, TERMINATOR,
                             VERSION, Malformed, acknowledge, decode, encode)

PIECE = 1024
REDIAL_SECONDS = 10.0
ACK_SECONDS = 30.0
RULE = re.compile(r"(\d+):(?:(.*)@)?([^:]+):([^:]*):(\d+)")


class Refused(Exception):
    """The proxy did not take the handshake."""


class _Protocol(websockets.WebSocketClientProtocol):
    """Tells when a ping has been answered: that is an event of the agent's receive loop too."""

    after_ping = staticmethod(lambda: None)

    async def pong(self, data=b""):
        await super().pong(data)
        self.after_ping()


class Session:
    """A local socket and its counterpart at the other agent."""

    def __init__(self, send, guid, reader, writer):
        self._send = send
        self._guid = guid
        self._reader = reader
        self._writer = writer
        self._sent = 0
        self._received = 0
        self._is_closed = False
        self.answer = None

    def close(self):
        """Closes the local socket, both directions."""
        self._is_closed = True
        self._writer.close()
        self._reader.feed_eof()

    async def copy(self):
        """Local socket to proxy, until the local socket ends for whatever reason."""
        try:
            while data := await self._reader.read(PIECE):
                await self._send_data(data)
            if not self._is_closed:
                await self._send_data(b"")
        except OSError:
            pass
        except websockets.ConnectionClosed:
            self.close()
            return
        with suppress(websockets.ConnectionClosed):
            await self._send(encode(CONNECTION_CLOSED, GUID=self._guid))
        self.close()

    async def _send_data(self, data):
        self._sent += 1
        await self._send(encode(DATA, GUID=self._guid, Order=self._sent, Data=data))

    async def take(self, kind, body):
        """Proxy to local socket. The agent's whole receive loop waits here for a slow reader."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result((kind, body))
        elif kind == TERMINATOR:
            self.close()
        elif kind == DATA:
            self._received += 1
            if body["Order"] != self._received:
                self.close()
            elif not self._is_closed:
                await self._write(body["Data"] or b"")

    async def _write(self, data):
        self._writer.write(data)
        with suppress(OSError):
            await self._writer.drain()


class Agent:
    """Connects again and again until its task is cancelled. `registers_late` enters a session that
    was asked of it only behind the next event that follows its ack, which makes the original's
    race certain."""

    def __init__(self, url, name, rules=(), key="", context=None, redial=REDIAL_SECONDS,
                 ack_seconds=ACK_SECONDS, registers_late=False):
        self._url = url
        self._name = name
        self._rules = [RULE.fullmatch(rule).groups() for rule in rules]
        self._key = key
        self._context = context
        self._redial = redial
        self._ack_seconds = ack_seconds
        self._registers_late = registers_late
        self._tasks = set()
        self._sessions = {}
        self._late = []
        self._initiated = set()
        self._socket = None
        self.is_ready = False
        self.registrations = 0
        self.ports = []
        self.failures = []

    async def run(self):
        while True:
            try:
                await self._connect()
            except (OSError, websockets.WebSocketException, asyncio.TimeoutError, Malformed,
                    Refused) as error:
                self.failures.append(str(error))
            await asyncio.sleep(self._redial)

    def abort(self):
        """Ends all sockets, as the end of the process would."""
        if self._socket:
            self._socket.transport.abort()
        for session in [*self._sessions.values(), *(late for _, late in self._late)]:
            session.close()

    async def _connect(self):
        options = {"ssl": self._context} if self._context else {}
        socket = await websockets.connect(
            self._url, create_protocol=_Protocol, compression=None, max_size=None, max_queue=1,
            ping_interval=None, close_timeout=1, user_agent_header=None, **options)
        try:
            await socket.send(encode(HANDSHAKE, Version=VERSION, Name=self._name, Key=self._key))
            kind, body = decode(await socket.recv())
            if kind != ACK or not body["Ok"]:
                raise Refused(body.get("Message"))
            await self._live(socket)
        finally:
            socket.transport.close()

    async def _live(self, socket):
        self._socket = socket
        self._sessions, self._late, self._initiated = {}, [], set()
        socket.after_ping = self._register_late
        listeners = [await self._listen(rule) for rule in self._rules]
        self.ports = [one.sockets[0].getsockname()[1] for one in listeners]
        self.is_ready = True
        self.registrations += 1
        try:
            while True:
                await self._take(*decode(await socket.recv()))
        finally:
            self.is_ready = False
            for listener in listeners:
                listener.close()
            # Those it answers stay open until their next byte, as at the original.
            for session in self._initiated:
                session.close()

    async def _take(self, kind, body):
        assert kind != HANDSHAKE, "the original would have died of it"
        if kind == INITIATOR:
            self._start(self._respond(body))
        elif body["GUID"] in self._sessions:
            await self._sessions[body["GUID"]].take(kind, body)
        self._register_late()

    def _register_late(self):
        for guid, session in self._late:
            self._sessions[guid] = session
        self._late.clear()

    def _start(self, work):
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self, rule):
        """The original listens on all interfaces; a test must not."""
        port, *target = rule

        async def accept(reader, writer):
            await self._initiate(reader, writer, *target)

        return await asyncio.start_server(accept, "127.0.0.1", int(port))

    async def _initiate(self, reader, writer, key, gateway, host, port):
        guid = str(uuid.uuid4())
        session = Session(self._socket.send, guid, reader, writer)
        session.answer = asyncio.get_running_loop().create_future()
        self._sessions[guid] = session
        self._initiated.add(session)
        try:
            await self._socket.send(encode(INITIATOR, GUID=guid, RemoteHost=host,
                                           RemotePort=int(port), Gatename=gateway, Key=key or ""))
            kind, body = await asyncio.wait_for(session.answer, self._ack_seconds)
            if kind == ACK and body["Ok"]:
                await session.copy()
        except (asyncio.TimeoutError, websockets.ConnectionClosed):
            pass
        finally:
            session.close()
            self._initiated.discard(session)
            self._sessions.pop(guid, None)

    async def _respond(self, body):
        guid, send, sessions = body["GUID"], self._socket.send, self._sessions
        try:
            reader, writer = await self._dial(body["RemoteHost"], body["RemotePort"])
        except OSError as error:
            with suppress(websockets.ConnectionClosed):
                await send(acknowledge(guid, f"dial tcp: {error}"))
            return
        session = Session(send, guid, reader, writer)
        if not self._registers_late:
            sessions[guid] = session
        try:
            await send(acknowledge(guid))
            if self._registers_late:
                self._late.append((guid, session))
            await session.copy()
        except websockets.ConnectionClosed:
            session.close()
        if sessions.get(guid) is session:
            del sessions[guid]

    @staticmethod
    async def _dial(host, port):
        """Host and port are joined with a colon, so an IPv6 address needs its brackets."""
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise OSError(f"address {host}:{port}: too many colons in address")
        return await asyncio.open_connection(host or "localhost", port)
