"""Proxies and agents that speak 0.1: culvert's in all their forms, and the independent ones."""

import os

from culvert.world import BINARY, Agent, Gateway, environment
from hubble.by_hand import dial

PROXIES = ["python", "gateway", "hubble-proxy"]
AGENTS = ["python", "agent", "hubble-agent"]

FAILING_SCRIPT = 'function connect(request) error("no") end\n'


def fail(_request):
    raise RuntimeError("no")


class Programs:
    """Starts what a test asks for by its kind; the world ends it."""

    def __init__(self, world, background):
        self.world = world
        self.background = background

    def proxy(self, kind, policy="grant", port=0):
        """`policy` is grant, deny or fail. Returns something with a port and a url()."""
        if kind == "python":
            authorize = {"grant": lambda _: True, "deny": lambda _: False, "fail": fail}[policy]
            return self.world.keep(self.background.proxy(authorize, port))
        dash = "--auth-" if kind == "gateway" else "-auth"
        options = [dash + policy]
        if policy == "fail":
            options = [dash + "lua", self.world.write("fail.lua", FAILING_SCRIPT)]
        if kind == "gateway":
            return self.gateway(policy=None, options=options, listen=f"127.0.0.1:{port}")
        return self.hubble_proxy(*options, listen=f"127.0.0.1:{port}")

    def gateway(self, *, options=(), **others):
        """A gateway that serves both dialects."""
        return self.world.gateway("--legacy", "hubble", *options, **others)

    def hubble_proxy(self, *options, command=(BINARY, "hubble-proxy"), listen="127.0.0.1:0"):
        """The program with the original's command line."""
        name = self.world.unique("hubble-proxy")
        where = ["-listen", listen] if listen else []
        return self.world.adopt(Gateway(name, [*command, *where, *options], None, None,
                                        env=environment(XDG_STATE_HOME=self.world.path(name))))

    def agent(self, kind, url, name, *rules, wait=True):
        """An agent in the 0.1 dialect, or with kind `native` one that is not told to."""
        if kind == "python":
            return self.background.agent(url, name, *rules, wait=wait, redial=1.0)
        if kind == "hubble-agent":
            return self.hubble_agent("-url", url, "-name", name, *rules, name=name, wait=wait)
        options = ["--allow", "*"]
        options += ["--dialect", "hubble"] if kind == "agent" else []
        return self.world.agent(None, name, *rules, url=url, options=options, wait=wait)

    def hubble_agent(self, *arguments, name, wait=True, command=(BINARY, "hubble-agent")):
        """The program with the original's command line."""
        agent = self.world.adopt(Agent(name, [*command, *arguments], env=environment()))
        if wait:
            agent.wait_registered()
        return agent

    def link(self, proxy, name, key="", **options):
        """(an agent by name of `name` that the test plays): registered."""
        peer = self.world.keep(dial(proxy.port, **options))
        answer = peer.shake_hands(name, key)
        assert answer["Ok"], answer
        return peer

    def symlink(self, name):
        """The program under another name."""
        path = self.world.path(name)
        os.symlink(BINARY, path)
        return path
