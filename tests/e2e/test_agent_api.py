"""The agent's REST API: what docs/agent-api.md says, and its OpenAPI document beside real answers."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import stat

import jsonschema
import msgpack
import pytest

from culvert.peers import (connect, echo_once, expect_reset, expect_session_reset, fill, free_port,
                           receive_exactly, wait_for_error)
from culvert.process import eventually
from culvert.wire import ACK, BINARY, OPEN, answer_upgrade, encode, frame
from culvert.world import ROOT, environment

TOKEN = "a-token-of-the-tests"
DOCUMENT = json.loads(pathlib.Path(ROOT, "src", "agent", "openapi.json").read_text("utf-8"))


# ---- the document ----

def resolve(part):
    """A part of the document, with what its $ref stands for."""
    while "$ref" in part:
        target = DOCUMENT
        for word in part["$ref"].removeprefix("#/").split("/"):
            target = target[word]
        part = target
    return part


def schema_of(part):
    """An OpenAPI 3.0 schema as a JSON schema: everything resolved, `nullable` as a type."""
    part = dict(resolve(part))
    if part.pop("nullable", False):
        part["type"] = [part["type"], "null"]
    if "properties" in part:
        part["properties"] = {name: schema_of(one) for name, one in part["properties"].items()}
    if "items" in part:
        part["items"] = schema_of(part["items"])
    return part


def template_of(path):
    """The documented path that a request's path is one of, or None."""
    for template in DOCUMENT["paths"]:
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            return template
    return None


SEEN = set()
STARTED = set()  # the tests of this module that have


@pytest.fixture(autouse=True)
def note_start(request):
    yield
    STARTED.add(request.node.nodeid)


def check_documented(method, path, answer):
    """The answer is one that the document describes."""
    template = template_of(path)
    operation = DOCUMENT["paths"].get(template, {}).get(method.lower()) if template else None
    if operation is None:
        assert answer.status in (401, 403, 404, 405, 413), f"{method} {path} is not documented"
        if answer.body is not None:
            jsonschema.validate(answer.body, schema_of({"$ref": "#/components/schemas/Problem"}))
        return
    SEEN.add((method, template, str(answer.status)))
    documented = operation["responses"].get(str(answer.status))
    assert documented, f"{method} {path} answered {answer.status}, which is not documented"
    documented = resolve(documented)
    for header in documented.get("headers", {}):
        assert answer.headers[header], f"{method} {path} {answer.status} has no {header}"
    content = documented.get("content")
    if not content:
        assert answer.raw == b""
        return
    (kind, described), = content.items()
    assert answer.headers["Content-Type"].split(";")[0] == kind
    jsonschema.validate(answer.body, schema_of(described["schema"]))


# ---- a client ----

class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.raw = response.read()
        self.body = json.loads(self.raw) if self.raw else None


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


class Api:
    """A client that holds every answer to the document."""

    def __init__(self, agent, token=TOKEN):
        self.agent = agent
        self.token = token
        self.url = agent.wait_for(r"^api on (\S+)$", stream="out")[1]

    def connection(self):
        if self.url.startswith("unix:"):
            return UnixConnection(self.url.removeprefix("unix:"))
        return http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=10)

    def call(self, method, path, body=None, headers=None):
        sent = {"Authorization": f"Bearer {self.token}"}
        if body is not None:
            sent["Content-Type"] = "application/json"
            body = body if isinstance(body, (bytes, str)) else json.dumps(body)
        for name, value in (headers or {}).items():
            sent.pop(name, None)
            if value is not None:
                sent[name] = value
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, body, sent)
            answer = Answer(connection.getresponse())
        check_documented(method, path, answer)
        if answer.status >= 400:
            assert answer.body["status"] == answer.status
            assert self.token not in answer.raw.decode()
        return answer

    def get(self, path):
        answer = self.call("GET", path)
        assert answer.status == 200, answer.body
        return answer.body

    def forwards(self):
        return self.get("/v1/forwards")["forwards"]

    def forward(self, number):
        return self.get(f"/v1/forwards/{number}")

    def sessions(self, direction=None):
        return [session for session in self.get("/v1/sessions")["sessions"]
                if direction in (None, session["direction"])]

    def add(self, target, **fields):
        """Adds a forward to a port on loopback and returns it."""
        answer = self.post(target, **fields)
        assert answer.status == 201, answer.body
        assert answer.headers["Location"] == f"/v1/forwards/{answer.body['id']}"
        return answer.body

    def post(self, target=22, **fields):
        return self.call("POST", "/v1/forwards", {
            "local": 0, "gateway": "agent2", "ip": "127.0.0.1", "remote": target, **fields})

    def remove(self, number):
        return self.call("DELETE", f"/v1/forwards/{number}").status


class Site:
    """A gateway with agent2, and what it takes to start agents with an API there."""

    def __init__(self, world):
        self.world = world
        self.gateway = world.gateway()
        self.far = world.agent(self.gateway, "agent2")
        self.token_file = world.write("token", TOKEN + "\n")

    def api(self, *rules, options=(), address="127.0.0.1:0", token_file=True, **agent_options):
        words = ["--api", address, *options]
        words += ["--api-token-file", self.token_file] if token_file else []
        agent = self.world.agent(self.gateway, "agent1", *rules, options=words, **agent_options)
        return Api(agent)


def api_of_unregistered(world, url, *options):
    return Api(world.bare_agent("agent1", "--url", url, "--name", "agent1", "--api", "127.0.0.1:0",
                                "--api-token-file", world.write("token", TOKEN), *options))


@pytest.fixture
def site(world):
    return Site(world)


@pytest.fixture
def echo(world):
    """The port of an echo server."""
    return world.echo_server().port


# ---- forwards ----

def test_a_forward_from_beginning_to_end(site, echo):
    api = site.api()
    assert api.forwards() == []
    added = api.add(echo)
    assert added["local"] > 0
    assert added == {
        "id": added["id"], "local": added["local"], "bind": "127.0.0.1", "gateway": "agent2",
        "ip": "127.0.0.1", "remote": echo, "has_key": False, "source": "api", "listening": True,
        "open": 0, "total": 0, "sent": 0, "received": 0}
    assert api.forwards() == [added]
    echo_once(added["local"], b"12345")
    eventually(lambda: api.forward(added["id"])["open"] == 0, message="the session did not end")
    after = api.forward(added["id"])
    assert (after["total"], after["sent"], after["received"]) == (1, 5, 5)
    assert api.remove(added["id"]) == 204
    with pytest.raises(ConnectionRefusedError):
        connect(added["local"])
    assert api.forwards() == []
    assert api.remove(added["id"]) == 404
    assert api.call("GET", f"/v1/forwards/{added['id']}").status == 404


def test_sessions_go_on_without_their_forward(world, site, echo):
    api = site.api()
    forward = api.add(echo)
    client = world.keep(connect(forward["local"]))
    client.sendall(b"before")
    receive_exactly(client, 6)
    assert api.forward(forward["id"])["open"] == 1
    assert api.forward(forward["id"])["sent"] == 6
    assert api.remove(forward["id"]) == 204
    client.sendall(b"after")
    receive_exactly(client, 5)
    session, = api.sessions()
    assert session["forward"] == forward["id"]
    assert session["sent"] == 11
    client.close()
    eventually(lambda: not api.sessions(), message="the session did not end")


def test_what_waits_for_the_link_is_reset_with_its_forward(world, site):
    api = site.api()
    site.gateway.kill()
    eventually(lambda: not api.get("/v1/status")["connected"], message="the link did not end")
    forward = api.add(22)
    client = world.keep(connect(forward["local"]))
    client.sendall(b"hello")
    assert api.remove(forward["id"]) == 204
    expect_reset(client)


def test_forwards_of_all_sources(world, site, echo):
    path = world.write("forwards.json", json.dumps([
        {"local": 0, "gateway": "agent2", "ip": "127.0.0.1", "remote": echo, "bind": "127.0.0.2"}]))
    api = site.api(f"0:key@agent2:127.0.0.1:{echo}", options=["--forwards", path])
    api.add(echo, bind="localhost", key="another-key")
    rule, file, made = api.forwards()
    assert [one["source"] for one in (rule, file, made)] == ["rule", "file", "api"]
    assert [one["bind"] for one in (rule, file, made)] == ["127.0.0.1", "127.0.0.2", "localhost"]
    assert [one["has_key"] for one in (rule, file, made)] == [True, False, True]
    echo_once(file["local"], address="127.0.0.2")
    for one in (rule, made):
        echo_once(one["local"])
    for one in (rule, file, made):
        assert api.remove(one["id"]) == 204
    assert api.forwards() == []


@pytest.mark.parametrize("fields, field", [
    ({"local": -1}, "local"), ({"local": 65536}, "local"), ({"local": "22"}, "local"),
    ({"local": 22.5}, "local"), ({"local": True}, "local"), ({"remote": 0}, "remote"),
    ({"remote": None}, "remote"), ({"gateway": ""}, "gateway"), ({"gateway": "gateway"}, "gateway"),
    ({"gateway": "é" * 70}, "gateway"), ({"gateway": 7}, "gateway"), ({"ip": ""}, "ip"),
    ({"ip": "é" * 200}, "ip"), ({"ip": "é" * 51 + "x" * 20}, "ip"), ({"ip": "127.1"}, "ip"),
    ({"bind": "no-such-host.invalid"}, "bind"), ({"bind": "203.0.113.9"}, "bind"),
    ({"bind": 1}, "bind"), ({"key": "a b"}, "key"), ({"key": "x" * 257}, "key"),
    ({"unknown": 1}, "unknown"), ({"id": 1}, "id")])
def test_a_wrong_field_is_named(site, fields, field):
    api = site.api()
    answer = api.post(**fields)
    assert answer.status == 400
    assert answer.body["field"] == field
    assert api.forwards() == []


@pytest.mark.parametrize("missing", ["local", "gateway", "ip", "remote"])
def test_a_missing_field_is_named(site, missing):
    fields = {"local": 0, "gateway": "agent2", "ip": "127.0.0.1", "remote": 22}
    del fields[missing]
    answer = site.api().call("POST", "/v1/forwards", fields)
    assert answer.status == 400
    assert answer.body["field"] == missing


@pytest.mark.parametrize("body", ["", "{", "[]", "7", "null", "\"text\"", "{\"local\": 1,}",
                                  b"{\"local\": \"\xff\"}", "[" * 5000], ids=range(9))
def test_a_malformed_body(site, body):
    answer = site.api().call("POST", "/v1/forwards", body)
    assert answer.status == 400
    assert "field" not in answer.body


def test_a_port_in_use(world, site):
    api = site.api()
    taken = world.server().port
    answer = api.post(local=taken)
    assert answer.status == 409
    assert answer.body["field"] == "local"
    assert str(taken) in answer.body["detail"]
    forward = api.add(22)
    assert api.post(local=forward["local"]).status == 409
    assert api.forwards() == [forward]


def test_no_more_than_1024_forwards(site, sanitized):
    api = site.api()
    count = 1024
    with contextlib.closing(api.connection()) as connection:
        for _ in range(count):
            connection.request("POST", "/v1/forwards", json.dumps(
                {"local": 0, "gateway": "a", "ip": "b", "remote": 1, "bind": "127.0.0.1"}),
                {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            assert response.status == 201
    assert api.post().status == 409
    forwards = api.forwards()
    assert len(forwards) == count
    assert api.remove(forwards[0]["id"]) == 204
    api.add(22)


def test_no_agent_reaches_our_ports(world, site, echo):
    """Not those of the forwards that were added, as long as they are there, nor the API's own."""
    api = site.api(options=["--allow", "*"])
    forward = api.add(echo)
    api_port = int(api.url.rpartition(":")[2])
    asking = world.agent(site.gateway, "agent3",
                         *(f"0:agent1:127.0.0.1:{port}" for port in (forward["local"], api_port)))
    for index in range(2):
        expect_session_reset(asking.port(index))
    assert api.remove(forward["id"]) == 204
    server = world.echo_server(port=forward["local"])
    assert server.port == forward["local"]
    echo_once(asking.port(0))


# ---- sessions and status ----

def test_sessions_of_both_sides(world, site, echo):
    near = site.api(f"0:agent2:127.0.0.1:{echo}")
    far = Api(world.agent(site.gateway, "agent3", options=[
        "--api", "127.0.0.1:0", "--api-token-file", site.token_file]))
    forward = near.add(echo, gateway="agent3")
    client = world.keep(connect(forward["local"]))
    client.sendall(b"hello")
    receive_exactly(client, 5)
    one, = near.sessions()
    other, = far.sessions()
    address = "{}:{}".format(*client.getsockname()[:2])
    assert one == {"id": one["id"], "direction": "out", "forward": forward["id"],
                   "agent": "agent3", "ip": "127.0.0.1", "remote": echo, "client": address,
                   "sent": 5, "received": 5, "seconds": one["seconds"]}
    assert other == {"id": other["id"], "direction": "in", "forward": None, "agent": "agent1",
                     "ip": "127.0.0.1", "remote": echo, "client": other["client"], "sent": 5,
                     "received": 5, "seconds": other["seconds"]}
    assert 0 <= one["seconds"] < 60
    assert near.get("/v1/sessions")["total"] == 1


@pytest.mark.parametrize("side", ["near", "far"])
def test_a_session_is_ended(world, site, echo, side):
    near = site.api()
    far = Api(world.agent(site.gateway, "agent3", options=[
        "--api", "127.0.0.1:0", "--api-token-file", site.token_file]))
    forward = near.add(echo, gateway="agent3")
    client = world.keep(connect(forward["local"]))
    client.sendall(b"hello")
    receive_exactly(client, 5)
    api = near if side == "near" else far
    session, = api.sessions()
    assert api.call("DELETE", f"/v1/sessions/{session['id'] + 1}").status == 404
    assert api.call("DELETE", f"/v1/sessions/{session['id']}").status == 204
    expect_reset(client)
    for one in (near, far):
        eventually(lambda one=one: not one.sessions(), message="the session did not end")
    assert api.call("DELETE", f"/v1/sessions/{session['id']}").status == 404
    echo_once(forward["local"])


@pytest.mark.parametrize("side", ["near", "far"])
def test_a_session_that_nobody_reads_is_ended_at_once(world, site, side):
    """What was on its way is dropped, where a reset of the client's would wait for it."""
    server = world.server()
    near = site.api()
    far = Api(world.agent(site.gateway, "agent3", options=[
        "--api", "127.0.0.1:0", "--api-token-file", site.token_file]))
    client = world.keep(connect(near.add(server.port, gateway="agent3")["local"]))
    fill(client)
    target = server.accept()
    api = near if side == "near" else far
    session, = api.sessions()
    assert api.call("DELETE", f"/v1/sessions/{session['id']}").status == 204
    wait_for_error(target)
    wait_for_error(client)
    site.gateway.wait_for("session.closed .*code=12 ")


def test_what_a_gateway_says_becomes_text(world, echo):
    """Who asks is the gateway's word, and whatever that is, the answer is JSON."""
    welcome = {"Ok": True, "Message": "", "Link": bytes(16), "Secret": bytes(32), "Epoch": 1,
               "First": 1, "Received": 0, "Keepalive": 20, "Resume": 0, "Window": 262144}
    asked = [2, "tcp", "agent1", "127.0.0.1", echo, "",
             {"source": "a\udcffb", "client": "\"\n\udce2\udc82"}]

    def handle(connection):
        answer_upgrade(connection)
        packed = msgpack.packb(asked, unicode_errors="surrogateescape")
        connection.sendall(frame(BINARY, encode(ACK, welcome), masked=False) +
                           frame(BINARY, bytes([OPEN]) + packed, masked=False))
        while connection.recv(65536):
            pass

    api = api_of_unregistered(world, f"ws://127.0.0.1:{world.server(handle).port}")
    eventually(api.sessions, message="there is no session")
    session, = api.sessions()
    assert session["agent"] == "a\ufffdb"
    assert session["client"] == "\"\n\ufffd\ufffd"


def test_status(site):
    api = site.api("0:agent2:127.0.0.1:22")
    status = api.get("/v1/status")
    assert status["name"] == "agent1"
    assert status["gateway"].rstrip("/") == site.gateway.url()
    assert status["connected"] is True
    assert status["dialect"] == "culvert.1"
    assert status["forwards"] == 1
    assert status["sessions"] == 0
    assert 0 <= status["connected_seconds"] <= status["uptime_seconds"] < 60
    site.gateway.kill()
    eventually(lambda: not api.get("/v1/status")["connected"], message="the link did not end")
    status = api.get("/v1/status")
    assert status["dialect"] is None
    assert status["connected_seconds"] is None


# ---- who may call ----

def every_operation():
    for path, operations in DOCUMENT["paths"].items():
        for method in operations:
            if method != "parameters":
                yield method.upper(), path.replace("{id}", "1")


def body_for(method):
    return {"local": 0, "gateway": "a", "ip": "b", "remote": 1} if method == "POST" else None


def test_every_call_needs_the_token(site):
    api = site.api()
    for method, path in every_operation():
        for authorization in (None, "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}",
                              f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"):
            answer = api.call(method, path, body_for(method), {"Authorization": authorization})
            assert answer.status == 401, (method, path, authorization)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert api.forwards() == []


def test_every_call_refuses_what_comes_from_a_web_page(site):
    api = site.api()
    port = api.url.rpartition(":")[2]
    for method, path in every_operation():
        for headers in ({"Host": "evil.example"}, {"Host": f"evil.example:{port}"},
                        {"Origin": "http://evil.example"}, {"Origin": "null"}):
            assert api.call(method, path, body_for(method), headers).status == 403
    assert api.forwards() == []


def test_bodies_that_are_not_taken(site):
    api = site.api()
    answer = api.call("POST", "/v1/forwards", "{}", {"Content-Type": "text/plain"})
    assert answer.status == 415
    answer = api.call("POST", "/v1/forwards", " " * (64 * 1024 + 1))
    assert answer.status == 413


def test_paths_that_are_not_there(site):
    api = site.api()
    for path in ("/", "/v1", "/v1/", "/v2/status", "/v1/forwards/", "/v1/forwards/1/x"):
        assert api.call("GET", path).status == 404
    for path in ("/v1/forwards/x", "/v1/forwards/-1", "/v1/forwards/0",
                 "/v1/forwards/99999999999999999999", "/v1/forwards/1%20"):
        assert api.call("GET", path).status == 404
        assert api.call("DELETE", path).status == 404
    for path, operations in DOCUMENT["paths"].items():
        assert api.call("PUT", path.replace("{id}", "1"), "{}").status == 405
        assert all("405" in one["responses"] for name, one in operations.items()
                   if name != "parameters")


# ---- where it listens ----

def test_a_socket(world, site, echo):
    path = world.path("api.sock")
    api = site.api(address=f"unix:{path}")
    assert api.url == f"unix:{path}"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    echo_once(api.add(echo)["local"])
    assert api.agent.stop() == 0
    assert not os.path.exists(path)


def test_a_port_of_the_api_that_is_in_use(world, site):
    taken = world.server().port
    agent = world.agent(site.gateway, "agent1", wait=False, options=[
        "--api", f"127.0.0.1:{taken}", "--api-token-file", site.token_file])
    assert agent.wait() == 1
    agent.wait_for(rf"{taken}.*in use", stream="err")


def test_another_address_than_loopback_is_warned_about(site):
    api = site.api(address="0.0.0.0:0")
    api.agent.wait_for("plain HTTP", stream="err")
    loopback = site.world.agent(site.gateway, "agent3", options=[
        "--api", "127.0.0.1:0", "--api-token-file", site.token_file])
    loopback.wait_for("^api on ", stream="out")
    assert "plain HTTP" not in loopback.output("err")


# ---- the token ----

def test_a_token_in_the_state_directory(world, site):
    state = world.path("state")
    files = {name: os.path.join(state, "culvert", name) for name in ("api-token", "api-url")}
    env = environment(XDG_STATE_HOME=state)
    api = site.api(token_file=False, env=env)
    token = pathlib.Path(files["api-token"]).read_text("ascii").strip()
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert token not in api.agent.output()
    for path in files.values():
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert pathlib.Path(files["api-url"]).read_text("ascii") == api.url + "\n"
    assert api.call("GET", "/v1/status").status == 401
    api.token = token
    api.get("/v1/status")
    assert api.agent.stop() == 0
    assert not os.path.exists(files["api-url"])
    again = site.api(token_file=False, env=env)
    again.token = token
    again.get("/v1/status")


@pytest.mark.parametrize("content, mode, what", [
    (TOKEN, 0o644, "may read it"), (TOKEN, 0o660, "may write it"), ("", 0o600, "no token"),
    ("two words\n", 0o600, "no token"), (None, None, "no such file")])
def test_a_token_file_that_cannot_be_used(world, site, content, mode, what):
    path = world.write("bad-token", content, mode) if mode else world.path("nothing")
    agent = world.agent(site.gateway, "agent1", wait=False, options=[
        "--api", "127.0.0.1:0", "--api-token-file", path])
    assert agent.wait() == 1
    agent.wait_for(rf"{re.escape(path)}: .*{what}", stream="err")


# ---- the state file ----

def test_forwards_survive_a_restart(world, site, echo):
    path = world.path("state.json")
    api = site.api("0:agent2:127.0.0.1:22", options=["--state", path])
    kept = [api.add(echo), api.add(echo, key="a-key", bind="127.0.0.2")]
    gone = api.add(echo)
    assert api.remove(gone["id"]) == 204
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    api.agent.kill()
    api = site.api("0:agent2:127.0.0.1:22", options=["--state", path])
    made = [one for one in api.forwards() if one["source"] == "api"]
    assert made == kept
    assert len({one["id"] for one in api.forwards()}) == 3
    echo_once(kept[0]["local"])
    echo_once(kept[1]["local"], address="127.0.0.2")
    assert api.add(echo)["id"] > gone["id"]
    assert "a-key" not in api.agent.output()


def test_a_kept_forward_whose_port_is_taken(world, site, echo):
    path = world.path("state.json")
    forwards = world.write("forwards.json", "[]")
    options = ["--state", path, "--forwards", forwards]
    api = site.api(options=options)
    kept = api.add(echo)
    assert api.agent.stop() == 0
    taken = world.server(port=kept["local"])
    api = site.api(options=options)
    api.agent.wait_for(rf"{kept['local']}.*in use", stream="err")
    assert api.forwards() == [{**kept, "listening": False}]
    assert api.post(local=kept["local"]).status == 409
    taken.close()
    api.agent.signal(signal.SIGHUP)
    eventually(lambda: api.forward(kept["id"])["listening"], message="the port was not opened")
    echo_once(kept["local"])
    assert api.remove(kept["id"]) == 204
    assert json.loads(pathlib.Path(path).read_text("utf-8"))["forwards"] == []


@pytest.mark.parametrize("content, what", [
    ("", "line 1"), ("{", "line 1"), ("[]", "no state of an agent"),
    ('{"last_id": 1, "forwards": [{"id": 1}]}', "forward 1: \"local\" is missing")])
def test_a_state_that_cannot_be_read(world, site, content, what):
    path = world.write("state.json", content)
    agent = world.agent(site.gateway, "agent1", wait=False, options=["--state", path])
    assert agent.wait() == 1
    agent.wait_for(rf"{re.escape(path)}: .*{re.escape(what)}", stream="err")
    assert pathlib.Path(path).read_text("utf-8") == content


def test_a_state_that_cannot_be_written(world, site):
    directory = world.path("state")
    os.mkdir(directory)
    path = os.path.join(directory, "state.json")
    api = site.api(options=["--state", path])
    kept = api.add(22)
    os.remove(path)
    os.rmdir(directory)
    answer = api.post()
    assert answer.status == 500
    assert path in answer.body["detail"]
    assert api.forwards() == [kept]
    assert api.remove(kept["id"]) == 500
    assert api.forwards() == []


def test_a_state_in_no_directory(world, site):
    path = world.path("nowhere/state.json")
    agent = world.agent(site.gateway, "agent1", wait=False, options=["--state", path])
    assert agent.wait() == 1
    agent.wait_for(rf"{re.escape(path)}: .*no such file", stream="err")


# ---- the forwards file ----

class ForwardsFile:
    """A file of forwards, one to agent2 for each (local, remote)."""

    def __init__(self, world):
        self.world = world
        self.path = world.path("forwards.json")

    def write(self, *forwards, **fields):
        self.world.write("forwards.json", json.dumps([
            {"local": local, "gateway": "agent2", "ip": "127.0.0.1", "remote": remote, **fields}
            for local, remote in forwards]))

    def reload(self, agent, pattern):
        since = agent.mark()
        agent.signal(signal.SIGHUP)
        return agent.wait_for(pattern, since=since, stream="err")


def test_a_forwards_file_is_read_again(world, site, echo):
    file = ForwardsFile(world)
    ports = [free_port() for _ in range(3)]
    file.write((ports[0], echo), (ports[1], echo), (0, echo))
    api = site.api(options=["--forwards", file.path])
    before = api.forwards()
    client = world.keep(connect(ports[0]))
    other = world.keep(connect(ports[1]))
    for one in (client, other):
        one.sendall(b"x")
        receive_exactly(one, 1)
    file.write((ports[2], echo), (0, echo), (ports[1], echo))
    since = api.agent.mark()
    file.reload(api.agent, "1 added, 1 removed, 2 kept")
    api.agent.wait_for(rf"no longer forwarding local port {ports[0]} to \S+:{echo}", since=since,
                       stream="err")
    after = {one["local"]: one for one in api.forwards()}
    assert ports[0] not in after
    assert after[ports[1]]["id"] == before[1]["id"]
    assert after[before[2]["local"]]["id"] == before[2]["id"]
    echo_once(ports[2])
    for one in (client, other):
        one.sendall(b"y")
        receive_exactly(one, 1)
    file.write((ports[1], 9))
    file.reload(api.agent, "1 added, 3 removed, 0 kept")
    assert [(one["local"], one["remote"]) for one in api.forwards()] == [(ports[1], 9)]


@pytest.mark.parametrize("content, what", [
    ("[", "line 1"), ("{}", "list"), ("[{}]", "forward 1: \"local\" is missing"),
    (None, "no such file")], ids=["cut-off", "no-list", "no-fields", "gone"])
def test_a_wrong_forwards_file_changes_nothing(world, site, echo, content, what):
    file = ForwardsFile(world)
    file.write((0, echo))
    api = site.api(options=["--forwards", file.path])
    before = api.forwards()
    if content is None:
        os.remove(file.path)
    else:
        world.write("forwards.json", content)
    file.reload(api.agent, rf"{re.escape(file.path)}: .*{re.escape(what)}")
    assert api.forwards() == before
    echo_once(before[0]["local"])
    assert api.agent.stop() == 0
    agent = world.agent(site.gateway, "agent1", options=["--forwards", file.path], wait=False)
    assert agent.wait() == 1
    agent.wait_for(re.escape(file.path), stream="err")


def test_a_port_of_the_file_that_is_taken_is_tried_again(world, site, echo):
    file = ForwardsFile(world)
    taken = world.server()
    file.write((taken.port, echo), (0, echo))
    agent = world.agent(site.gateway, "agent1", options=["--forwards", file.path])
    agent.wait_for(rf"{taken.port}.*in use", stream="err")
    port = taken.port
    taken.close()
    file.reload(agent, "1 added, 0 removed, 1 kept")
    echo_once(port)


def test_none_of_the_files_ports_could_be_opened(world, site):
    file = ForwardsFile(world)
    file.write((world.server().port, 22))
    agent = world.agent(site.gateway, "agent1", options=["--forwards", file.path], wait=False)
    assert agent.wait() == 4


def test_keys_in_a_file_that_others_may_read(world, site, echo):
    file = ForwardsFile(world)
    file.write((0, echo), key="k")
    os.chmod(file.path, 0o644)
    agent = world.agent(site.gateway, "agent1", options=["--forwards", file.path], wait=False)
    assert agent.wait() == 1
    agent.wait_for("0600", stream="err")
    os.chmod(file.path, 0o600)
    agent = world.agent(site.gateway, "agent1", options=["--forwards", file.path])
    echo_once(agent.port())


# ---- keys and Hubble 0.1 ----

def hubble_server(world, port=0):
    """A server that knows no culvert.1, and how many agents have begun to speak Hubble 0.1 there,
    to which it says nothing."""
    spoken = []

    def handle(connection):
        answer_upgrade(connection, protocol=None)
        if connection.recv(65536):
            spoken.append(connection)
        while connection.recv(65536):
            pass

    return world.server(handle, port=port), spoken


def test_a_key_is_not_given_to_a_server_that_was_taken_for_want_of_one(world):
    server, spoken = hubble_server(world)
    url = f"ws://127.0.0.1:{server.port}"
    api = api_of_unregistered(world, url)
    eventually(lambda: spoken, message="the agent did not fall back to Hubble 0.1")
    assert api.post().status == 201
    answer = api.post(key="a-key")
    assert (answer.status, answer.body["field"]) == (400, "key")
    assert "--dialect hubble" in answer.body["detail"]
    asked_for = api_of_unregistered(world, url, "--dialect", "hubble")
    eventually(lambda: len(spoken) > 1, message="the agent did not speak Hubble 0.1")
    assert asked_for.post(key="a-key").status == 201


def test_with_a_key_no_server_is_taken_that_only_knows_hubble(world):
    port = free_port()
    api = api_of_unregistered(world, f"ws://127.0.0.1:{port}")
    forward = api.post(key="a-key").body
    _, spoken = hubble_server(world, port)
    api.agent.wait_for("not culvert.1", timeout=30.0, stream="err")
    assert not spoken
    assert api.remove(forward["id"]) == 204
    eventually(lambda: spoken, 30.0, "the agent did not fall back to Hubble 0.1")


# ---- the end ----

def test_a_stopping_agent_takes_no_forwards(world, site, echo):
    api = site.api()
    forward = api.add(echo)
    client = world.keep(connect(forward["local"]))
    client.sendall(b"x")
    receive_exactly(client, 1)
    api.agent.signal(signal.SIGTERM)
    api.agent.wait_for("stopping", stream="err")
    assert api.post().status == 503
    client.sendall(b"y")
    receive_exactly(client, 1)
    client.close()
    assert api.agent.wait() == 0


@pytest.mark.once
def test_an_agent_without_an_api_costs_no_more(world, site):
    """What serves the API is not touched without it."""
    plain = world.agent(site.gateway, "agent3")
    assert plain.memory() < 12 * 1024 * 1024


# ---- the document ----

def test_the_document_is_served_as_it_is(site):
    assert site.api().get("/v1/openapi.json") == DOCUMENT


def test_the_document_is_well_formed():
    assert DOCUMENT["openapi"] == "3.0.3"
    for name, schema in DOCUMENT["components"]["schemas"].items():
        jsonschema.Draft4Validator.check_schema(schema_of(schema))
        for required in schema.get("required", []):
            assert required in schema["properties"], (name, required)
    names = [operation["operationId"] for path in DOCUMENT["paths"].values()
             for method, operation in path.items() if method != "parameters"]
    assert len(names) == len(set(names))


def test_the_page_names_what_the_document_names():
    page = pathlib.Path(ROOT, "docs", "agent-api.md").read_text("utf-8")
    documented = {f"{method.upper()} {path}" for path, operations in DOCUMENT["paths"].items()
                  for method in operations if method != "parameters"}
    assert set(re.findall(r"^\| `((?:GET|POST|DELETE) \S+)`", page, re.M)) == documented
    for schema in ("NewForward", "Forward", "Session", "Status"):
        for field in DOCUMENT["components"]["schemas"][schema]["properties"]:
            assert f"`{field}`" in page, (schema, field)


@pytest.mark.once
def test_every_documented_status_was_seen(request):
    """Together the tests of this module have had every answer that the document promises."""
    chosen = {item.originalname for item in request.session.items if item.module is request.module}
    before = {item.nodeid for item in request.session.items if item.module is request.module}
    before.discard(request.node.nodeid)
    if {name for name in globals() if name.startswith("test_")} - chosen or before - STARTED:
        pytest.skip("not all tests of this module have run before, in this process")
    promised = {(method.upper(), path, status)
                for path, operations in DOCUMENT["paths"].items()
                for method, operation in operations.items() if method != "parameters"
                for status in operation["responses"]
                if status != "405"}  # that of another method of the same path
    assert promised - SEEN == set()
