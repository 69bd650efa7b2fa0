"""Python agents and proxies for tests: they run on an event loop in a thread of its own."""

import asyncio
import threading

from culvert.process import PATIENCE, eventually
from hubble.agent import Agent
from hubble.proxy import Proxy

SECONDS = PATIENCE


class Background:
    """An event loop in a thread."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._ended = []

    def run(self, work, timeout=SECONDS):
        """Runs a coroutine to its end and returns what it does."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def agent(self, url, name, *rules, wait=True, **options):
        """A running agent, registered unless told otherwise."""
        return RunningAgent(self, url, name, rules, wait, options)

    def proxy(self, authorize=lambda request: True, port=0, context=None):
        """A listening proxy."""
        return RunningProxy(self, authorize, port, context)

    def close(self):
        """Ends everything that still runs, and the thread."""

        async def end():
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()


class RunningAgent:
    """A Python agent, with the surface of the harness's own agents as far as tests need it."""

    def __init__(self, background, url, name, rules, wait, options):
        self._background = background
        self.agent_name = name

        async def start():
            agent = Agent(url, name, rules, **options)
            return agent, asyncio.get_running_loop().create_task(agent.run())

        self._agent, self._task = background.run(start())
        if wait:
            self.wait_registered()

    def mark(self):
        """How often it has registered, for wait_registered(since=...)."""
        return self._agent.registrations

    def wait_registered(self, timeout=SECONDS, since=0):
        eventually(lambda: self._agent.is_ready and self._agent.registrations > since, timeout,
                   f"{self.agent_name} did not register ({self._agent.failures})")

    def port(self, index=0):
        """The local port of a rule."""
        return self._agent.ports[index]

    def kill(self):
        """Ends it with all its sockets, as a killed process would."""

        async def end():
            self._task.cancel()
            self._agent.abort()
            await asyncio.gather(self._task, return_exceptions=True)

        self._background.run(end())


class RunningProxy:
    """A Python proxy."""

    def __init__(self, background, authorize, port, context):
        self._background = background
        self._scheme = "wss" if context else "ws"
        self._proxy = Proxy(authorize)
        self.port = background.run(self._proxy.start(port, context))

    def url(self, host="127.0.0.1"):
        return f"{self._scheme}://{host}:{self.port}"

    def names(self):
        return list(self._proxy.names)

    def kill(self):
        """Ends it and its connections; it is no error if that was done."""
        self._background.run(self._proxy.close())

    close = kill
