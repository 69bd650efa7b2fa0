"""`culvert forward`: the forwards of a running agent, from the command line."""

import json
import os
import re
import socket

import pytest

from culvert.peers import connect, echo_once, free_port
from culvert.process import eventually
from culvert.world import culvert, environment

TOKEN = "a-token-of-the-tests"


class Site:
    """An agent with an API whose clients find it by the state directory, and one that dials."""

    def __init__(self, world):
        self.world = world
        self.gateway = world.gateway()
        self.far = world.agent(self.gateway, "agent2")
        self.environment = environment(XDG_STATE_HOME=world.path("state"))
        self.agent = None
        self.url = None

    def start(self, *rules, api="127.0.0.1:0", options=()):
        self.agent = self.world.agent(self.gateway, "agent1", *rules,
                                      options=["--api", api, *options], env=self.environment)
        self.url = self.agent.wait_for(r"^api on (\S+)$", stream="out")[1]
        return self

    def forward(self, *words, **variables):
        return culvert("forward", *words, env={**self.environment, **variables})

    def done(self, *words, **variables):
        result = self.forward(*words, **variables)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        return result.stdout

    def failed(self, *words, code=1, **variables):
        """What it said, in one line."""
        result = self.forward(*words, **variables)
        assert result.returncode == code, result.stderr
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith(f"culvert forward {words[0]}: ")
        return result.stderr

    def listed(self):
        return json.loads(self.done("list", "--json"))["forwards"]


@pytest.fixture
def site(world):
    return Site(world)


@pytest.fixture
def echo(world):
    """The port of an echo server."""
    return world.echo_server().port


def test_add_use_list_remove(site, echo):
    site.start()
    said = site.done("add", f"0:agent2:127.0.0.1:{echo}")
    match = re.fullmatch(rf"forward (\d+): 127\.0\.0\.1:(\d+) -> agent2:127\.0\.0\.1:{echo}\n", said)
    assert match, said
    number, port = match[1], int(match[2])
    echo_once(port, b"12345")
    eventually(lambda: site.listed()[0]["open"] == 0, message="the session did not end")
    head, row = site.done("list").splitlines()
    assert head.split() == ["ID", "LOCAL", "TARGET", "SOURCE", "OPEN", "TOTAL", "SENT", "RECEIVED"]
    assert row.split() == [number, f"127.0.0.1:{port}", f"agent2:127.0.0.1:{echo}", "api", "0", "1",
                           "5", "5"]
    assert site.done("remove", number) == ""
    with pytest.raises(ConnectionRefusedError):
        connect(port)
    assert site.done("list").splitlines() == [head]


def test_bind_key_and_json(site, echo):
    site.start()
    added = json.loads(site.done("add", "--json", f"[::1]:0:a-key@agent2:localhost:{echo}"))
    assert (added["bind"], added["ip"], added["remote"]) == ("::1", "localhost", echo)
    assert added["has_key"] is True
    assert site.listed() == [added]
    assert f"[::1]:{added['local']} " in site.done("list")
    assert "a-key" not in site.done("list") + site.done("list", "--json") + site.agent.output()


def test_a_unix_socket_and_a_token_file(site, world, echo):
    path = world.path("api.sock")
    token = world.write("token", TOKEN + "\n")
    site.start(f"0:agent2:127.0.0.1:{echo}", api=f"unix:{path}",
               options=["--api-token-file", token])
    assert "rule" in site.done("list", "--api", f"unix:{path}", "--token-file", token)
    assert "rule" in site.done("list", CULVERT_API=f"unix:{path}", CULVERT_TOKEN=TOKEN)
    said = site.failed("list", "--api", f"unix:{path}", CULVERT_TOKEN=TOKEN + "x")
    assert f"the API at unix:{path} refused the token in $CULVERT_TOKEN; give" in said
    assert TOKEN not in said
    wrong = world.write("wrong", "wrong\n")
    assert f"refused the token in {wrong}; give the token of that agent with --token-file" in \
        site.failed("list", "--api", f"unix:{path}", "--token-file", wrong)
    os.chmod(token, 0o644)
    assert "0600" in site.failed("list", "--api", f"unix:{path}", "--token-file", token)


def test_a_socket_that_an_agent_has_left(site, world):
    """As a killed agent leaves it, and where there is none."""
    stale = world.path("stale.sock")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(stale)
    said = site.failed("list", "--api", f"unix:{stale}", CULVERT_TOKEN=TOKEN)
    assert f"no agent listens at unix:{stale}: Connection refused; start one with --api" in said
    missing = world.path("missing.sock")
    said = site.failed("list", "--api", f"unix:{missing}", CULVERT_TOKEN=TOKEN)
    assert f"no agent listens at unix:{missing}: No such file or directory" in said


def test_what_the_agent_refuses_is_told(site, world):
    site.start()
    taken = world.server().port
    assert re.search(rf"\b{taken}\b.*in use", site.failed("add", f"{taken}:agent2:127.0.0.1:22"))
    assert "no-such-host" in site.failed("add", "no-such-host.invalid:0:agent2:127.0.0.1:22")
    assert "no such forward" in site.failed("remove", "4711")
    assert site.listed() == []


def test_an_agent_that_is_not_there(site):
    assert "--api" in site.failed("list")
    port = free_port()
    assert f"http://127.0.0.1:{port} does not answer" in site.failed(
        "list", "--api", f"127.0.0.1:{port}", CULVERT_TOKEN=TOKEN)
    site.start()
    assert site.listed() == []
    assert site.agent.stop() == 0
    assert "no agent of yours" in site.failed("list")


def test_the_token_goes_to_nobody_else(site, world):
    """Neither to another machine nor to a proxy that the environment names."""
    site.start()
    assert "not on this machine" in site.failed("list", "--api", "http://203.0.113.1:7070")
    heard = []

    def listen(connection):
        heard.append(connection.recv(4096))

    proxy = world.server(listen)
    site.done("list", http_proxy=f"http://127.0.0.1:{proxy.port}",
              all_proxy=f"http://127.0.0.1:{proxy.port}")
    assert heard == []


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", b"SSH-2.0-OpenSSH_9.2\r\n", b"",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 400 No\r\nContent-Length: 26\r\n\r\n{\"detail\": \"a\\u001b[2J\\n\"}\n"], ids=range(6))
def test_somebody_else_listens_there(site, world, answer):
    """One line, no crash, whatever comes back."""

    def reply(connection):
        connection.recv(4096)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)

    server = world.server(reply)
    said = site.failed("list", "--api", f"127.0.0.1:{server.port}", CULVERT_TOKEN=TOKEN)
    assert "\x1b" not in said
    assert TOKEN not in said


@pytest.mark.parametrize("words", [["add"], ["add", "22"], ["remove"], ["remove", "x"],
                                   ["list", "x"], ["list", "--apis", "x"]])
def test_wrong_words(site, words):
    site.failed(*words, code=2)


def test_what_to_do_is_missing():
    result = culvert("forward")
    assert result.returncode == 2
    assert "add, list or remove" in result.stderr
