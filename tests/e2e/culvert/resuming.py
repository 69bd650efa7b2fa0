"""An agent by raw wire whose link may lose its connection and get another (docs/protocol.md)."""

import hmac
import re
import ssl

from culvert.events import read_events, wait_for_events
from culvert.peers import reset
from culvert.wire import ACK, COUNTED, DATA, HANDSHAKE, OPEN, SKIP, Link, encode


class ResumingAgent:
    """Registers under a name, and keeps all that it sends to send it again."""

    def __init__(self, world, gateway, name, key=""):
        self._world = world
        self.gateway = gateway
        self.name = name
        self.key = key
        self.epoch = 1
        self.sent = []
        self.link = self.dial()
        self.welcome = self.link.shake_hands(name, key)
        assert self.welcome["Ok"] is True, self.welcome

    def dial(self):
        """An upgraded connection of its own."""
        authority = self.gateway.authority
        context = ssl.create_default_context(cafile=authority.certificate) if authority else None
        return self._world.keep(Link.connect(self.gateway, context))

    def send(self, kind, body):
        message = encode(kind, body)
        if kind in COUNTED:
            self.sent.append(message)
        self.link.send(message)

    def open(self, sid, agent):
        self.send(OPEN, [sid, "tcp", agent, "127.0.0.1", 9, "", {}])

    def cut(self):
        """Its connection is reset."""
        reset(self.link.connection)

    def handshake(self, link, **changes):
        """What resumes the link on this connection. A change of None leaves the field out."""
        nonce = bytes.fromhex(re.search(r"Culvert-Nonce: (\w+)", link.response)[1])
        epoch = changes.get("Epoch", self.epoch + 1)
        proof = hmac.digest(self.welcome["Secret"], nonce + epoch.to_bytes(8, "big"), "sha256")
        fields = {"Version": "1", "Name": self.name, "Key": self.key, "Features": [],
                  "Window": 256 * 1024, "Epoch": epoch, "First": 1, "Link": self.welcome["Link"],
                  "Proof": proof, "Received": self.link.counted, **changes}
        return {key: value for key, value in fields.items() if value is not None}

    def ask(self, link=None, **changes):
        """Tries to resume on a connection of its own; returns that and the gateway's answer."""
        link = link or self.dial()
        link.send(encode(HANDSHAKE, self.handshake(link, **changes)))
        kind, answer = link.receive()
        assert kind == ACK and isinstance(answer, dict), (kind, answer)
        return link, answer

    def refused(self, link=None, **changes):
        """Tries to resume and is not let in: the code and the sentence."""
        link, answer = self.ask(link, **changes)
        assert answer["Ok"] is False, answer
        link.wait_closed()
        return answer["Code"], answer["Message"]

    def resume(self, link=None, **changes):
        """Resumes, sends again what the gateway lacks, and returns its answer."""
        link, answer = self.ask(link, **changes)
        assert answer["Ok"] is True, answer
        assert answer["Link"] == self.welcome["Link"]
        self.epoch = answer["Epoch"]
        link.counted = answer["First"] - 1
        self.link = link
        if answer["Received"] > 0:
            link.send_message(SKIP, [answer["Received"]])
        for message in self.sent[answer["Received"]:]:
            link.send(message)
        return answer


    def ask_express(self, **changes):
        """Asks for an express connection; returns it and the gateway's answer."""
        return self.ask(**{"Express": True, "Epoch": self.epoch, **changes})

    def express(self, **changes):
        """An express connection beside the one that there is."""
        link, answer = self.ask_express(**changes)
        assert answer["Ok"] is True, answer
        return link


class Pair:
    """Two raw agents, and a stream from the one to the other."""

    def __init__(self, near, far, events, sid=1):
        self.near = near
        self.far = far
        self.events = events
        self._count = 0
        self._sids = iter(range(sid, 1 << 20, 2))
        self.near_sid, self.far_sid = self.open()

    def open(self):
        """Opens one more stream; returns its ids at both ends."""
        sid = next(self._sids)
        self.near.open(sid, self.far.name)
        return sid, self.accept(sid)

    def accept(self, sid):
        """The answering agent takes the next open; the asking one hears of it."""
        far_sid = self.far.link.wait_for(OPEN)[0]
        self.far.send(ACK, [far_sid, True, 0, ""])
        assert self.near.link.wait_for(ACK, sid)[1] is True
        return far_sid

    def say(self):
        """The asking agent sends something new, which is returned."""
        self._count += 1
        said = b"word %d" % self._count
        self.near.send(DATA, [self.near_sid, said])
        return said

    def hear(self, said):
        assert self.far.link.wait_for(DATA, self.far_sid)[1] == said

    def answer(self):
        self._count += 1
        said = b"answer %d" % self._count
        self.far.send(DATA, [self.far_sid, said])
        assert self.near.link.wait_for(DATA, self.near_sid)[1] == said

    def check(self):
        """The stream is whole, both ways."""
        self.hear(self.say())
        self.answer()

    def wait_lost(self, count=1):
        """The gateway knows that the far agent's connection is gone."""
        wait_for_events(self.events, "link.lost", count, agent=self.far.name)

    def cut(self, count=1):
        self.far.cut()
        self.wait_lost(count)

    def count(self, event):
        return len([one for one in read_events(self.events)
                    if one["event"] == event and one.get("agent") == self.far.name])


class Maker:
    """Makes pairs on gateways of its own, whose options the test gives."""

    def __init__(self, world):
        self._world = world
        self.gateway = None

    def __call__(self, *options, secure=False, key=False, user=None, threads=1,
                 **gateway_options):
        events = self._world.path("events.json")
        self.gateway = gateway = self._world.gateway("--events", events, *options, secure=secure,
                                                     is_open=not key, threads=threads,
                                                     **gateway_options)
        noted = ["--user", user] if user else []
        near, far = (ResumingAgent(self._world, gateway, name,
                                   gateway.add_key(name, *noted) if key else "")
                     for name in ("near", "far"))
        return Pair(near, far, events)
