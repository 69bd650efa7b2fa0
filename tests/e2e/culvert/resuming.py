"""An agent by raw wire whose link may lose its connection and get another (docs/protocol.md)."""

import hmac
import re
import ssl

from culvert.peers import reset
from culvert.wire import ACK, COUNTED, HANDSHAKE, OPEN, SKIP, Link, encode


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
