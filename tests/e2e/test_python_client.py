"""The Python client (clients/python) and a real agent. Its package has the name of the helpers of
these tests, so it is loaded under another one."""

import importlib.util
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from culvert.peers import connect, echo_once, expect_gone, receive_exactly
from culvert.process import eventually, run
from culvert.world import ROOT, environment

pytestmark = pytest.mark.once

PACKAGE = pathlib.Path(ROOT, "clients", "python")


def load():
    folder = PACKAGE / "culvert"
    spec = importlib.util.spec_from_file_location(
        "culvert_client", folder / "__init__.py", submodule_search_locations=[str(folder)])
    module = importlib.util.module_from_spec(spec)
    sys.modules["culvert_client"] = module
    spec.loader.exec_module(module)
    return module


client = load()
TOKEN = "a-token-of-the-tests"


class Site:
    """An agent with an API, one that dials, and an echo server there."""

    def __init__(self, world):
        self.world = world
        self.gateway = world.gateway()
        self.far = world.agent(self.gateway, "gw1")
        self.echo = world.echo_server().port
        self.state = world.path("state")
        self.token_file = world.write("token", TOKEN + "\n")
        self.process = None
        self.url = None

    def start(self, *rules, address="127.0.0.1:0", options=None):
        options = options or ["--api-token-file", self.token_file]
        self.process = self.world.agent(
            self.gateway, "agent1", *rules, options=["--api", address, *options],
            env=environment(XDG_STATE_HOME=self.state))
        self.url = self.process.wait_for(r"^api on (\S+)$", stream="out")[1]
        return self.world.keep(client.Agent(self.url, token=TOKEN))

    def connect(self, agent, **more):
        return agent.connect(remotegw="gw1", addr="127.0.0.1", port=self.echo, **more)


@pytest.fixture
def site(world):
    return Site(world)


def test_a_block_has_a_forward(site):
    agent = site.start()
    with site.connect(agent) as forward:
        assert forward.localport > 0
        assert forward.source == "api"
        assert forward.listening
        with socket.create_connection(forward.address, timeout=10) as connection:
            connection.sendall(b"12345")
            assert receive_exactly(connection, 5) == b"12345"
            assert forward.refresh().open == 1
            session, = agent.sessions()
            assert (session.direction, session.forward, session.agent) == ("out", forward.id, "gw1")
            assert (session.addr, session.port) == ("127.0.0.1", site.echo)
            assert session.client.endswith(f":{connection.getsockname()[1]}")
        eventually(lambda: forward.refresh().open == 0, message="the session did not end")
        assert (forward.total, forward.sent, forward.received) == (1, 5, 5)
    with pytest.raises(ConnectionRefusedError):
        connect(forward.localport)
    assert agent.forwards() == []
    forward.close()


def test_a_given_port_all_addresses_and_a_key(site):
    agent = site.start()
    first = site.connect(agent, bind="*", key="a-key")
    assert first.has_key
    echo_once(first.localport, address="127.0.0.2")
    with pytest.raises(client.Conflict) as caught:
        site.connect(agent, localport=first.localport)
    assert caught.value.status == 409
    assert caught.value.field == "local"
    assert str(first.localport) in caught.value.detail
    port = first.localport
    first.close()
    assert site.connect(agent, localport=port, bind="127.0.0.1").localport == port
    echo_once(port)


def test_forwards_of_others_too(site):
    agent = site.start(f"0:gw1:127.0.0.1:{site.echo}")
    rule, = agent.forwards()
    assert rule.source == "rule"
    assert rule.localport == site.process.port()
    assert agent.forward(rule.id).localport == rule.localport
    rule.close()
    with pytest.raises(client.NotFound):
        rule.refresh()
    with pytest.raises(client.NotFound):
        agent.forward(rule.id)


def test_a_session_is_reset(world, site):
    agent = site.start()
    forward = site.connect(agent)
    connection = world.keep(connect(forward.localport))
    connection.sendall(b"x")
    receive_exactly(connection, 1)
    session, = agent.sessions()
    agent.reset(session)
    expect_gone(connection)
    eventually(lambda: not agent.sessions(), message="the session did not end")
    agent.reset(session)


def test_status(site):
    agent = site.start()
    status = agent.status()
    assert status.name == "agent1"
    assert status.connected
    assert status.dialect == "culvert.1"
    assert status.gateway.startswith("ws://127.0.0.1:")
    site.gateway.kill()
    eventually(lambda: not agent.status().connected, message="the link did not end")
    assert agent.status().connected_seconds is None


def test_errors_of_a_real_agent(site):
    agent = site.start()
    with pytest.raises(client.BadRequest) as caught:
        agent.connect("gw1", "127.0.0.1", 0)
    assert caught.value.field == "remote"
    with pytest.raises(client.BadRequest) as caught:
        agent.connect("not a name", "127.0.0.1", 22)
    assert caught.value.field == "gateway"
    with pytest.raises(client.Unauthorized):
        client.Agent(site.url, "wrong").status()
    assert site.process.stop() == 0
    with pytest.raises(client.ConnectionFailed):
        agent.status()


def test_a_unix_socket(world, site):
    agent = site.start(address=f"unix:{world.path('api.sock')}")
    assert agent.url == site.url == f"unix:{world.path('api.sock')}"
    with site.connect(agent) as forward:
        echo_once(forward.localport)


def test_an_agent_that_was_restarted(world, site):
    """The client's idle connection is gone; nothing that it does next fails for that."""
    path = world.path("api.sock")
    options = ["--api-token-file", site.token_file, "--state", world.path("forwards.json")]
    agent = site.start(address=f"unix:{path}", options=options)
    forward = site.connect(agent)
    site.process.stop()
    site.start(address=f"unix:{path}", options=options)
    assert forward.refresh().listening
    site.process.stop()
    site.start(address=f"unix:{path}", options=options)
    with site.connect(agent) as second:
        assert second.id > forward.id
    echo_once(forward.localport)


def python(script, **variables):
    return run([sys.executable, "-W", "error", "-c", script], timeout=30,
               env=environment(PYTHONPATH=str(PACKAGE), PYTHONDONTWRITEBYTECODE="1", **variables))


def test_the_default_agent_is_found_in_the_state_directory(site):
    """As a user's program does it, with the package under its own name."""
    site.start(options=["--forwards", site.world.write("none.json", "[]")])
    result = python(f"""
import culvert, socket
with culvert.connect(remotegw="gw1", addr="127.0.0.1", port={site.echo}) as forward:
    with socket.create_connection(("localhost", forward.localport), 10) as connection:
        connection.sendall(b"hello")
        print(connection.recv(5).decode())
print(len(culvert.Agent().forwards()))
""", XDG_STATE_HOME=site.state)
    assert (result.returncode, result.stdout, result.stderr) == (0, "hello\n0\n", "")


def test_the_default_agent_of_the_environment(site):
    site.start()
    script = f"import culvert; culvert.connect('gw1', '127.0.0.1', {site.echo}, localport=0)"
    assert python(script, CULVERT_API=site.url, CULVERT_TOKEN=TOKEN).returncode == 0
    result = python(script, CULVERT_API=site.url, CULVERT_TOKEN="wrong")
    assert "culvert.errors.Unauthorized: the API's token is missing or wrong" in result.stderr
    # One that was not made in a block outlives the program.
    forward, = client.Agent(site.url, TOKEN).forwards()
    echo_once(forward.localport)


def test_it_installs(world):
    """pyproject.toml names the whole package, its mark of being typed too."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("there is no setuptools")
    folder = world.path("source")
    subprocess.run(["cp", "-r", str(PACKAGE), folder], check=True)
    result = run([sys.executable, "-c", "import setuptools; setuptools.setup()", "--quiet",
                  "build", "--build-lib", world.path("built")], cwd=folder, timeout=50,
                 env=environment())
    assert result.returncode == 0, result.stderr
    built = sorted(os.listdir(world.path("built/culvert")))
    wanted = sorted(name for name in os.listdir(PACKAGE / "culvert") if not name.startswith("__py"))
    assert built == wanted
