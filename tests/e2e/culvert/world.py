"""What one test starts: gateways, agents, servers, sockets; and their end, which is a test too."""

import glob
import os
import re
from contextlib import ExitStack

from culvert.peers import Proxy, Server, connect, echo, echo_once
from culvert.process import PATIENCE, Process, eventually, run

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BINARY = os.path.abspath(os.environ.get("CULVERT", os.path.join(ROOT, "build", "culvert")))
MEGABYTE = 1024 * 1024


def is_sanitized():
    """Whether the binary carries a sanitizer, with which memory and speed cannot be judged."""
    with open(BINARY, "rb") as file:
        content = file.read()
    return b"__asan_init" in content or b"__tsan_init" in content


def environment(**variables):
    """An environment without what a developer may have set for culvert, and without proxies."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("CULVERT", "XDG_")) and not name.lower().endswith("_proxy")}
    kept.update(variables)
    return kept


def culvert(*arguments, env=None, timeout=PATIENCE):
    """Runs a subcommand that ends by itself."""
    return run([BINARY, *arguments], env=env or environment(), timeout=timeout)


class Culvert(Process):
    """A process of the program under test."""

    def complaints(self, was_asked):
        """What is wrong with the way it ended (it must have), as a list of texts. `was_asked`: it
        ran until it got SIGTERM."""
        found = []
        code = self.returncode()
        if not self.was_killed and (code < 0 or (was_asked and code != 0)):
            found.append(f"{self.name} ended with {code}")
        for sign in ("AddressSanitizer", "ThreadSanitizer", "LeakSanitizer", "runtime error:",
                     "Assertion"):
            if sign in self.output():
                found.append(f"{self.name} printed {sign!r}")
        return found


class Gateway(Culvert):
    """A running `culvert gateway`."""

    def __init__(self, name, command, data, authority, **options):
        super().__init__(name, command, **options)
        self.data = data
        self.authority = authority
        match = self.wait_for(r"^listening on (.*):(\d+)$", stream="out")
        self.host, self.port = match[1], int(match[2])

    def url(self, host="127.0.0.1"):
        return f"{'wss' if self.authority else 'ws'}://{host}:{self.port}"

    def key(self, *arguments):
        """Runs `culvert key` on this gateway's store."""
        return culvert("key", *arguments, "--data", self.data)

    def add_key(self, name, *options):
        result = self.key("add", name, *options)
        assert result.returncode == 0, result.stderr
        return re.search(r"cvk_\S+", result.stdout)[0]


class Agent(Culvert):
    """A running `culvert agent`."""

    def __init__(self, name, command, **options):
        super().__init__(name, command, **options)
        self.agent_name = name

    def wait_registered(self, timeout=PATIENCE, since=0):
        return self.wait_for(rf"^registered as {re.escape(self.agent_name)} at ", timeout,
                             since=since, stream="out")

    def forwards(self):
        """(address, port, target) of the rules, in the order printed."""
        return [(match[1], int(match[2]), match[3]) for match in
                re.finditer(r"^forwarding (\S+):(\d+) -> (\S+)$", self.output("out"), re.M)]

    def port(self, index=0):
        """The real local port of a rule."""
        eventually(lambda: len(self.forwards()) > index or not self.is_running(),
                   message=f"{self.name} printed too few ports")
        assert len(self.forwards()) > index, self.output()
        return self.forwards()[index][1]


class Tunnel:
    """A gateway, an agent with rules (`near`) and the agent that dials (`far`)."""

    def __init__(self, world, gateway, near, far, far_name):
        self._world = world
        self.gateway = gateway
        self.near = near
        self.far = far
        self.far_name = far_name

    def port(self, index=0):
        return self.near.port(index)

    def connect(self, index=0):
        """A client's connection, closed at the test's end."""
        return self._world.keep(connect(self.port(index)))

    def processes(self):
        return [self.gateway, self.near, self.far]

    def check(self, index=0):
        """A session with the echo server behind the rule works."""
        echo_once(self.port(index))


class World:
    """Everything a test starts; `close` ends it and fails if a process did not end well."""

    living = []

    def __init__(self, directory, authority):
        self.directory = str(directory)
        self.authority = authority
        self.processes = []
        self._stack = ExitStack()
        self._count = 0
        self._leftovers = []
        World.living.append(self)

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, content, mode=0o600):
        """A file of the test's own."""
        path = self.path(name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(path, mode)
        return path

    def keep(self, closeable):
        """Closes something before the processes are ended."""
        self._stack.callback(closeable.close)
        return closeable

    def remove_at_end(self, pattern):
        """Removes the files of these names once all processes have ended."""
        self._leftovers.append(pattern)

    def unique(self, stem):
        self._count += 1
        return f"{stem}-{self._count}"

    def server(self, handler=None, **options):
        return self.keep(Server(handler, **options))

    def echo_server(self, **options):
        return self.server(echo, **options)

    def proxy(self, port, own_port=0):
        return self.keep(Proxy(port, own_port))

    def process(self, name, command, **options):
        return self.adopt(Process(name, command, **options))

    def adopt(self, process):
        self.processes.append(process)
        return process

    def gateway(self, *options, secure=False, certificate=None, policy="--auth-grant",
                is_open=True, listen="127.0.0.1:0", threads=None, data=None, wrapper=(),
                **process_options):
        """Starts a gateway on a free port. `certificate` stands for the world's own, `wrapper` is
        a command that execs the rest of its line."""
        name = self.unique("gateway")
        data = data or self.path(name)
        command = [*wrapper, BINARY, "gateway", "--listen", listen, "--data", data]
        command += [policy] if policy else []
        command += ["--open"] if is_open else []
        command += ["--threads", threads] if threads else []
        if secure:
            certificate = certificate or self.authority.issue(self.unique("server"))
            command += ["--tls-cert", certificate.certificate, "--tls-key", certificate.key]
        return self.adopt(Gateway(
            name, command + list(options), data, self.authority if secure else None,
            **{"env": environment(), **process_options}))

    def bare_gateway(self, *arguments):
        """Starts a gateway with these arguments and a store of its own."""
        data = self.path(self.unique("data"))
        return self.adopt(Gateway(self.unique("gateway"),
                                  [BINARY, "gateway", *arguments, "--data", data], data, None,
                                  env=environment()))

    def bare_agent(self, name, *arguments, **process_options):
        """Starts an agent with these arguments and waits for nothing."""
        return self.adopt(Agent(name, [BINARY, "agent", *arguments],
                                **{"env": environment(), **process_options}))

    def agent(self, gateway, name, *rules, options=(), wait=True, url=None, key=None,
              wrapper=(), **process_options):
        """Starts an agent and, unless told otherwise, waits until it is registered. `wrapper` is a
        command that execs the rest of its line."""
        command = [*wrapper, BINARY, "agent", "--url", url or gateway.url(), "--name", name]
        command += ["--key", key] if key else []
        if gateway and gateway.authority and "--insecure" not in options:
            command += ["--ca", gateway.authority.certificate]
        agent = self.adopt(Agent(name, command + list(options) + list(rules),
                                 **{"env": environment(), **process_options}))
        if wait:
            agent.wait_registered()
        return agent

    def tunnel(self, *targets, secure=False, near="agent1", far="agent2", options=(),
               far_options=(), gateway=None, **gateway_options):
        """A whole way to ports on loopback, or to targets written HOST:PORT."""
        gateway = gateway or self.gateway(*options, secure=secure, **gateway_options)
        far_agent = self.agent(gateway, far, options=far_options)
        rules = [f"0:{far}:{target if isinstance(target, str) else f'127.0.0.1:{target}'}"
                 for target in targets]
        near_agent = self.agent(gateway, near, *rules)
        return Tunnel(self, gateway, near_agent, far_agent, far)

    def close(self):
        """Ends everything: sockets and servers, then all processes at once."""
        problems = []
        try:
            self._stack.close()
        except OSError as error:
            problems.append(f"closing sockets: {error}")
        asked = {process for process in self.processes if process.is_running()}
        for process in reversed(self.processes):
            process.ask_to_stop()
        for process in self.processes:
            try:
                process.wait()
            except AssertionError as error:
                problems.append(str(error))
                process.kill()
            if isinstance(process, Culvert):
                problems += process.complaints(process in asked)
        for path in [path for pattern in self._leftovers for path in glob.glob(pattern)]:
            os.unlink(path)
        World.living.remove(self)
        assert not problems, "\n".join(problems + [self.report()])

    def report(self):
        """All processes' output, for a failure."""
        return "\n".join(f"--- {process.name} (pid {process.pid}) {' '.join(process.command)}\n"
                         f"{process.output()}" for process in self.processes)
