"""The ways from a client to the services. Each gives ports that lead there, and its processes."""

import os
import pathlib
import shutil
import subprocess

from .processes import Failed, Process, free_port, wait_for_port
from .services import STREAM_MODULE, nginx_command

HOPS = 3


def wait_for_forwards(agent, ports):
    """Ports of the services -> the local ports that an agent forwards to them."""
    found = {}
    # Loopback is two addresses, so that a rule may have two lines.
    while len(found) < len(ports):
        words = agent.wait_for_line("forwarding ").split()
        target = int(words[3].rpartition(":")[2])
        if words[1].startswith("127.0.0.1:"):
            name = next(name for name in ports if ports[name] == target)
            found[name] = int(words[1].rpartition(":")[2])
    return found


def make_certificate(folder, name, subject):
    """A certificate that vouches for itself, and its key."""
    certificate, key = folder / f"{name}-cert.pem", folder / f"{name}-key.pem"
    if not certificate.exists():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext",
             f"subjectAltName={subject}", "-keyout", key, "-out", certificate],
            check=True, capture_output=True)
        key.chmod(0o600)
    return certificate, key


class Contender:
    """Direct: no process in between."""

    name = "direct"
    most_sessions = 10000
    is_encrypted = False

    def __init__(self, folder, services, tools, culvert):
        self.folder = folder
        self.services = services
        self.tools = tools
        self.culvert = culvert
        self.ports = dict(services.ports)
        self.processes = {}

    def missing(self):
        """What this contender needs and does not find, or None."""
        return None

    def start(self):
        pass

    def stop(self):
        for process in self.processes.values():
            process.stop()
        self.processes = {}

    def pids(self):
        return [process.child.pid for process in self.processes.values()]

    def run(self, name, command):
        self.processes[name] = Process(f"{self.name}-{name}", command, self.folder)
        return self.processes[name]


class BareChain(Contender):
    name = "limit"

    def start(self):
        for hop in range(HOPS):
            ports = {name: free_port() for name in self.ports}
            pairs = [port for name in ports for port in (ports[name], self.ports[name])]
            relay = self.run(f"relay{hop}", [self.tools / "bare_relay", *pairs])
            for _ in ports:
                relay.wait_for_line("listening on")
            self.ports = ports


class NginxChain(Contender):
    name = "nginx"

    def missing(self):
        return None if pathlib.Path(STREAM_MODULE).exists() else "libnginx-mod-stream"

    def start(self):
        for hop in range(HOPS):
            ports = {name: free_port() for name in self.ports}
            servers = "\n".join(
                f"server {{ listen 127.0.0.1:{ports[name]} backlog=4096;"
                f" proxy_pass 127.0.0.1:{self.ports[name]}; }}" for name in ports)
            body = (f"load_module {STREAM_MODULE};\n"
                    "events { worker_connections 65000; multi_accept on; }\n"
                    "stream { tcp_nodelay on; proxy_buffer_size 256k; proxy_timeout 1h;\n"
                    f"{servers}\n}}\n")
            self.run(f"nginx{hop}", nginx_command(self.folder, f"{self.name}-nginx{hop}", body))
            for port in (ports["http"], ports["echo"]):
                wait_for_port(port)
            self.ports = ports


class CulvertPlain(Contender):
    name = "ws"
    scheme = "ws"
    tls = ()
    trust = ()
    legacy = ()
    dialect = ()

    def missing(self):
        return None if os.access(self.culvert, os.X_OK) else str(self.culvert)

    def start(self):
        data = self.folder / f"{self.name}-data"
        gateway = self.run("gateway", [
            self.culvert, "gateway", "--listen", "127.0.0.1:0", "--auth-grant", "--open",
            "--data", data, "--log-level", "warning", *self.tls, *self.legacy])
        address = gateway.wait_for_line("listening on ").split()[-1]
        url = f"{self.scheme}://localhost:{address.rpartition(':')[2]}"
        common = ["--url", url, "--log-level", "warning", *self.trust, *self.dialect]
        agent2 = self.run("agent2", [self.culvert, "agent", "--name", "agent2", *common])
        agent2.wait_for_line("registered ")
        names = list(self.ports)
        rules = [f"0:agent2:127.0.0.1:{self.ports[name]}" for name in names]
        agent1 = self.run("agent1", [self.culvert, "agent", "--name", "agent1", *common, *rules])
        self.ports = wait_for_forwards(agent1, self.services.ports)


class CulvertSecure(CulvertPlain):
    name = "wss"
    scheme = "wss"
    is_encrypted = True

    def missing(self):
        return super().missing() or (None if shutil.which("openssl") else "openssl")

    def start(self):
        certificate, key = make_certificate(self.folder, "localhost",
                                            "DNS:localhost,IP:127.0.0.1")
        self.tls = ("--tls-cert", certificate, "--tls-key", key)
        self.trust = ("--ca", certificate)
        super().start()


class CulvertHubble(CulvertPlain):
    name = "0.1"
    legacy = ("--legacy", "hubble")
    dialect = ("--dialect", "hubble")


class SecureShell(Contender):
    name = "ssh -L"
    most_sessions = 1000  # it walks all its channels for each event: 10,000 take minutes

    def missing(self):
        for program in ("ssh", "sshd", "ssh-keygen"):
            if not shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/bin"):
                return program
        return None

    def start(self):
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        if os.geteuid() == 0:
            # sshd's own rule; Debian makes it at boot.
            pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for name in ("host_key", "user_key"):
            if not (self.folder / name).exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                                self.folder / name], check=True)
        port = free_port()
        config = self.folder / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {self.folder}/host_key\nPidFile none\n"
            f"AuthorizedKeysFile {self.folder}/user_key.pub\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nAllowTcpForwarding yes\nPermitRootLogin yes\n")
        self.run("sshd", [sshd, "-D", "-f", config])
        wait_for_port(port)
        ports = {name: free_port() for name in self.ports}
        forwards = [part for name in ports for part in
                    ("-L", f"127.0.0.1:{ports[name]}:127.0.0.1:{self.ports[name]}")]
        self.run("ssh", ["ssh", "-N", "-F", "none", "-p", port, "-i", self.folder / "user_key",
                         "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                         "-o", "ExitOnForwardFailure=yes", "-o", "IdentitiesOnly=yes",
                         "-o", "LogLevel=ERROR", *forwards, "127.0.0.1"])
        wait_for_port(ports["http"])
        self.ports = ports


CONTENDERS = {kind.name: kind for kind in
              (Contender, BareChain, NginxChain, CulvertPlain, CulvertSecure, CulvertHubble,
               SecureShell)}
__all__ = ["CONTENDERS", "Contender", "Failed"]
