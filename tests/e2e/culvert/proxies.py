"""Corporate proxies, each with its own configuration, on free loopback ports."""

import hashlib
import itertools
import os
import shutil
import signal
import socket
import threading

from culvert.peers import free_port
from culvert.process import run
from culvert.services import wait_for_port

USER = "bob"
PASSWORD = "a b:c@%/secret"  # what a URL must encode, and a header must not break at
ENCODED = "a%20b%3Ac%40%25%2Fsecret"
FORBIDDEN_PORT = 1
_COUNT = itertools.count()


class ProxyServer:
    """A proxy of any kind; `url` and the like are what an agent is given."""

    scheme = "http"

    def __init__(self):
        self.port = free_port()
        self.process = None

    def url(self, login="", port=None, scheme=None):
        return f"{scheme or self.scheme}://{login + '@' if login else ''}127.0.0.1:" \
               f"{port or self.port}"


class Squid(ProxyServer):
    """squid that wants a login by `method`: basic, digest, ntlm or none."""

    def __init__(self, world, method):
        super().__init__()
        # Squids of one name share files in /dev/shm, and one that was killed leaves them behind.
        service = f"culvert{os.getpid()}n{next(_COUNT)}"
        world.remove_at_end(f"/dev/shm/{service}-*")
        config = world.write(world.unique("squid"), f"""
http_port 127.0.0.1:{self.port}
{getattr(self, '_' + method)(world)}
acl forbidden port {FORBIDDEN_PORT}
http_access deny forbidden
http_access {"allow all" if method == "none" else "allow users"}
http_access deny all
cache deny all
cache_log stdio:/dev/stderr
access_log none
pid_filename none
pinger_enable off
netdb_filename none
shutdown_lifetime 0 seconds
coredump_dir {world.directory}
max_filedescriptors 1024
connect_timeout 5 seconds
""", mode=0o644)
        self.process = world.process(
            "squid", [shutil.which("squid", path="/usr/sbin:/usr/bin"), "-N", "-n", service, "-f", config])
        wait_for_port(self.process, self.port)

    @staticmethod
    def _none(_):
        return ""

    @staticmethod
    def _basic(world):
        hashed = run(["openssl", "passwd", "-apr1", PASSWORD], check=True).stdout.strip()
        path = world.write(world.unique("passwords"), f"{USER}:{hashed}\n", mode=0o644)
        return f"""auth_param basic program /usr/lib/squid/basic_ncsa_auth {path}
auth_param basic children 1 startup=1
auth_param basic realm the office
acl users proxy_auth REQUIRED"""

    @staticmethod
    def _digest(world):
        digest = hashlib.md5(f"{USER}:the office:{PASSWORD}".encode()).hexdigest()
        path = world.write(world.unique("passwords"), f"{USER}:the office:{digest}\n", mode=0o644)
        return f"""auth_param digest program /usr/lib/squid/digest_file_auth -c {path}
auth_param digest children 1 startup=1
auth_param digest realm the office
acl users proxy_auth REQUIRED"""


    @staticmethod
    def _ntlm(_):
        """Whoever can answer a challenge may pass: the program knows no passwords."""
        return """auth_param ntlm program /usr/lib/squid/ntlm_fake_auth
auth_param ntlm children 4 startup=1
acl users proxy_auth REQUIRED"""


class Tinyproxy(ProxyServer):
    """tinyproxy that wants a login by Basic, or none. It takes no password with spaces."""

    password = "secret"

    def __init__(self, world, has_login=True, lines=""):
        super().__init__()
        config = world.write(world.unique("tinyproxy"), f"""
Port {self.port}
Listen 127.0.0.1
Timeout 600
MaxClients 100
LogLevel Warning
{f"BasicAuth {USER} {self.password}" if has_login else ""}
{lines}
""", mode=0o644)
        # It may miss a SIGTERM that comes between its look for one and its wait for a connection.
        self.process = world.process("tinyproxy", ["tinyproxy", "-d", "-c", config],
                                     stop_signal=signal.SIGKILL)
        wait_for_port(self.process, self.port)


class Microsocks(ProxyServer):
    """A SOCKS5 proxy that wants a login, or none."""

    scheme = "socks5h"

    def __init__(self, world, has_login=True):
        super().__init__()
        login = ["-u", USER, "-P", PASSWORD] if has_login else []
        self.process = world.process(
            "microsocks", ["microsocks", "-i", "127.0.0.1", "-p", self.port, *login])
        wait_for_port(self.process, self.port)


class SecureFront(ProxyServer):
    """nginx that speaks TLS in front of a proxy, as one that is itself reached by https."""

    scheme = "https"

    def __init__(self, world, proxy):
        super().__init__()
        certificate = world.authority.issue(world.unique("proxy"))
        config = world.write(world.unique("nginx"), f"""
{'user root;' if os.geteuid() == 0 else ''}
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
pid {world.path(world.unique("pid"))};
error_log stderr warn;
events {{ worker_connections 256; }}
stream {{
    server {{
        listen 127.0.0.1:{self.port} ssl;
        ssl_certificate {certificate.certificate};
        ssl_certificate_key {certificate.key};
        proxy_pass 127.0.0.1:{proxy.port};
    }}
}}
""")
        self.process = world.process(
            "nginx", [shutil.which("nginx", path="/usr/sbin:/usr/bin"), "-e", "stderr",
                      "-p", world.directory, "-c", config])
        wait_for_port(self.process, self.port)


class Splice:
    """A proxy that answers a CONNECT, whose head is read first unless it was, and passes on."""

    def __init__(self, near, far, is_asked=False):
        self._ends = near, far
        head = b""
        while not is_asked and b"\r\n\r\n" not in head:
            head += near.recv(1)
        near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass

    def cut(self):
        for end in self._ends:
            end.shutdown(socket.SHUT_RDWR)
