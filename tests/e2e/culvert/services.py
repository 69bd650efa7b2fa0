"""Real servers, each with its own configuration, on free loopback ports."""

import getpass
import os
import shutil
import signal

from culvert.peers import connect, free_port
from culvert.process import eventually, run


def port_answers(port):
    try:
        connect(port, timeout=1).close()
        return True
    except OSError:
        return False


def wait_for_port(process, port):
    eventually(lambda: port_answers(port) or not process.is_running(),
               message=f"{process.name} did not listen on port {port}")
    assert process.is_running(), process.output()


class SshServer:
    """An OpenSSH server that knows one client's key."""

    def __init__(self, world):
        self.world = world
        self.port = free_port()
        for name in ("host_key", "client_key"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f",
                 world.path(name)], check=True)
        shutil.copy(world.path("client_key.pub"), world.path("authorized_keys"))
        with open(world.path("host_key.pub"), encoding="ascii") as file:
            kind, key, _ = file.read().split()
        self.known_hosts = world.write("known_hosts", f"culvert-test {kind} {key}\n")
        config = world.write("sshd_config", f"""
ListenAddress 127.0.0.1
Port {self.port}
HostKey {world.path("host_key")}
AuthorizedKeysFile {world.path("authorized_keys")}
PidFile none
PermitRootLogin yes
PasswordAuthentication no
StrictModes no
UsePAM no
MaxStartups 100
Subsystem sftp internal-sftp
""")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        self.process = world.process("sshd", [shutil.which("sshd", path="/usr/sbin:/usr/bin"),
                                              "-D", "-e", "-f", config])
        wait_for_port(self.process, self.port)

    def options(self):
        """What ssh and scp need to find and trust this server, and nothing of the user's own."""
        return ["-F", "none", "-i", self.world.path("client_key"), "-o", "IdentitiesOnly=yes",
                "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={self.known_hosts}",
                "-o", "GlobalKnownHostsFile=none", "-o", "HostKeyAlias=culvert-test",
                "-o", "StrictHostKeyChecking=yes", "-o", f"User={getpass.getuser()}"]


class PostgresServer:
    """A PostgreSQL cluster of its own that takes TLS connections only."""

    def __init__(self, world):
        self.port = free_port()
        self._world = world
        self._identity = []
        if os.geteuid() == 0:
            self._identity = ["setpriv", "--reuid", "postgres", "--regid", "postgres",
                              "--init-groups", "--pdeathsig", "INT", "--"]
        self.data = world.path("cluster")
        os.mkdir(self.data, 0o700)
        self._own(self.data)
        self._run(self._program("initdb"), "-D", self.data, "-U", "postgres", "-A", "trust",
                  "--no-sync", "-E", "UTF8", "--locale", "C")
        certificate = world.authority.issue("postgres")
        for source, name in ((certificate.certificate, "server.crt"),
                             (certificate.key, "server.key")):
            path = os.path.join(self.data, name)
            shutil.copy(source, path)
            os.chmod(path, 0o600)
            self._own(path)
        with open(os.path.join(self.data, "pg_hba.conf"), "w", encoding="ascii") as file:
            file.write("hostssl all all 127.0.0.1/32 trust\n")
        self.process = world.process(
            "postgres",
            [*self._identity, self._program("postgres"), "-D", self.data, "-p", self.port,
             "-h", "127.0.0.1", "-k", "", "-c", "ssl=on", "-c", "fsync=off",
             "-c", "shared_buffers=16MB", "-c", "max_connections=50"],
            cwd="/", stop_signal=signal.SIGINT)
        wait_for_port(self.process, self.port)
        self.process.wait_for("ready to accept connections", timeout=30)

    @staticmethod
    def _program(name):
        found = shutil.which(name)
        base = "/usr/lib/postgresql"
        versions = sorted(os.listdir(base), key=float) if os.path.isdir(base) else []
        return (os.path.join(base, versions[-1], "bin", name) if versions else found)

    def _own(self, path):
        if os.geteuid() == 0:
            shutil.chown(path, "postgres", "postgres")

    def _run(self, *command):
        run([*self._identity, *command], check=True, cwd="/")


class WebServer:
    """nginx with a small page, a large file and keep-alive."""

    def __init__(self, world, large_file):
        self.port = free_port()
        root = world.path("www")
        os.makedirs(root)
        os.chmod(root, 0o755)
        os.symlink(large_file.path, os.path.join(root, "large"))
        with open(os.path.join(root, "small"), "w", encoding="ascii") as file:
            file.write("a small page\n")
        config = world.write("nginx.conf", f"""
{'user root;' if os.geteuid() == 0 else ''}
daemon off;
worker_processes 1;
pid {world.path("nginx.pid")};
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {world.path("body")};
    proxy_temp_path {world.path("proxy")};
    fastcgi_temp_path {world.path("fastcgi")};
    uwsgi_temp_path {world.path("uwsgi")};
    scgi_temp_path {world.path("scgi")};
    client_max_body_size 500m;
    keepalive_requests 100000;
    server {{
        listen 127.0.0.1:{self.port} backlog=1024;
        root {root};
    }}
}}
""")
        self.process = world.process(
            "nginx", [shutil.which("nginx", path="/usr/sbin:/usr/bin"), "-e", "stderr",
                      "-p", world.directory, "-c", config])
        wait_for_port(self.process, self.port)


class ThroughputServer:
    """An iperf3 server."""

    def __init__(self, world):
        self.port = free_port()
        self.process = world.process(
            "iperf3", ["iperf3", "-s", "-p", self.port, "-B", "127.0.0.1", "--forceflush"])
        self.process.wait_for("Server listening")
