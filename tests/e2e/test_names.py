"""One name, one agent."""

import signal

from culvert.events import read_events, wait_for_events
from culvert.peers import echo_once
from culvert.process import eventually
from culvert.resuming import ResumingAgent


def test_a_second_agent_is_refused_while_the_first_answers(world, secure):
    server = world.echo_server()
    gateway = world.gateway(secure=secure)
    first = world.agent(gateway, "agent2")
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{server.port}")
    second = world.agent(gateway, "agent2", wait=False)
    assert second.wait() == 3
    assert "agent2" in second.output("err")
    assert "registered as" not in second.output("out")
    assert "again" not in second.output("err")
    assert first.count("^registered as") == 1
    echo_once(near.port())


def test_a_second_agent_replaces_a_frozen_one(world, secure):
    server = world.echo_server()
    gateway = world.gateway(secure=secure)
    frozen = world.agent(gateway, "agent2")
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{server.port}")
    frozen.signal(signal.SIGSTOP)
    world.agent(gateway, "agent2")
    echo_once(near.port())


def test_an_agent_that_was_replaced_does_no_harm_when_it_wakes(world):
    server = world.echo_server()
    gateway = world.gateway()
    frozen = world.agent(gateway, "agent2")
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{server.port}")
    frozen.signal(signal.SIGSTOP)
    second = world.agent(gateway, "agent2")
    since = frozen.mark()
    frozen.signal(signal.SIGCONT)
    frozen.wait_for("agent2|link|lost|closed", since=since)
    for _ in range(10):
        echo_once(near.port())
    assert second.count("^registered as") == 1


def test_a_half_open_predecessor_does_not_block_its_own_return(world):
    """The network dies in the middle: the gateway still has the old connection, the agent not."""
    server = world.echo_server()
    gateway = world.gateway()
    proxy = world.proxy(gateway.port)
    far = world.agent(gateway, "agent2", url=f"ws://127.0.0.1:{proxy.port}")
    near = world.agent(gateway, "agent1", f"0:agent2:127.0.0.1:{server.port}")
    echo_once(near.port())
    since = far.mark()
    for connection in proxy.half_open():
        world.keep(connection)
    far.wait_for("resumed the link", since=since)
    echo_once(near.port())


def test_a_name_is_free_again_when_its_agent_has_gone(world, secure):
    gateway = world.gateway(secure=secure)
    for _ in range(5):
        agent = world.agent(gateway, "agent1")
        assert agent.stop() == 0
    for _ in range(5):
        world.agent(gateway, "agent1").kill()


def test_names_differ_by_case_and_length(world):
    gateway = world.gateway()
    for name in ("agent", "Agent", "agent.1", "agent_1", "agent-1", "a" * 128):
        world.agent(gateway, name)


def test_many_names(world):
    gateway = world.gateway()
    agents = [world.agent(gateway, f"agent{number}", wait=False) for number in range(20)]
    for agent in agents:
        agent.wait_registered()
    eventually(lambda: all(agent.is_running() for agent in agents))


def test_a_holder_whose_connection_ends_while_it_is_asked(world):
    """It makes way at once, as most likely the newcomer is itself."""
    events = world.path("events.json")
    gateway = world.gateway("--events", events, "--log-level", "debug", threads=2)
    holder = ResumingAgent(world, gateway, "agent1")
    newcomer = world.agent(gateway, "agent1", wait=False)
    gateway.wait_for("the holder of its name is asked")
    holder.cut()
    newcomer.wait_registered()
    gone = wait_for_events(events, "agent.unregistered", agent="agent1")[0]
    assert "did not answer" not in gone["reason"]
    assert not [one for one in read_events(events) if one["event"] == "link.lost"]
