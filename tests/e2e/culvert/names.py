"""Host names for the processes of a test: a name server, and what makes a program ask it."""

import os
import random
import shutil
import socket
import struct
import threading

import pytest

from culvert.process import run

PORT = 53
UNSHARE = shutil.which("unshare")


def question_of(packet):
    """The name that a query asks for, and where the question ends (RFC 1035 section 4.1.2)."""
    labels, position = [], 12
    while size := packet[position]:
        labels.append(packet[position + 1:position + 1 + size].decode())
        position += 1 + size
    return ".".join(labels), position + 5


class NameServer:
    """Answers for the names that it was given, and leaves all others without an answer, so that
    who looks them up waits. Remembers who was asked for."""

    def __init__(self, world, **names):
        if os.geteuid() != 0 or run([UNSHARE, "-m", "true"]).returncode != 0:
            pytest.skip("needs port 53 and the right to unshare mounts")
        self._names = {name.replace("_", "."): address for name, address in names.items()}
        self.asked = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.address = self._bind()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        # Longer than any test takes.
        self._resolv_conf = world.write(
            world.unique("resolv.conf"),
            f"nameserver {self.address}\noptions timeout:30 attempts:5\n", mode=0o644)
        self._nsswitch = world.write(world.unique("nsswitch.conf"), "hosts: files dns\n",
                                     mode=0o644)

    def _bind(self):
        while True:
            address = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.53"
            try:
                self._socket.bind((address, PORT))
                return address
            except OSError:
                continue

    def _serve(self):
        while True:
            try:
                packet, peer = self._socket.recvfrom(4096)
            except OSError:
                return
            if not packet:
                return
            name, end = question_of(packet)
            self.asked.append(name)
            if name not in self._names:
                continue
            is_ipv4 = packet[end - 4:end - 2] == b"\0\1"
            answer = (b"\xc0\x0c\0\1\0\1" + struct.pack("!IH", 0, 4) +
                      socket.inet_aton(self._names[name])) if is_ipv4 else b""
            self._socket.sendto(packet[:2] + b"\x81\x80\0\1" + struct.pack("!H", is_ipv4) +
                                bytes(4) + packet[12:end] + answer, peer)

    def wrapper(self):
        """For a process that asks this server, in a mount namespace of its own."""
        return [UNSHARE, "-m", "sh", "-c",
                f"mount --bind {self._resolv_conf} /etc/resolv.conf && "
                f"mount --bind {self._nsswitch} /etc/nsswitch.conf && exec \"$@\"", "sh"]

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", (self.address, PORT))
        self._thread.join(10)
        self._socket.close()
