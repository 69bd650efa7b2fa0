"""Events: what each tells, and that no sink loses, leaks or delays anything."""

import hashlib
import hmac
import http.server
import json
import os
import re
import signal
import stat
import threading
import time

import pytest

from culvert.events import at_least, read_events, wait_for_events
from culvert.peers import connect, expect_session_reset, free_port, receive_exactly
from culvert.process import eventually
from culvert.world import culvert

KEY = "a-connection-key"
KEY_HASH = hashlib.sha256(KEY.encode()).hexdigest()
SECRET = "what-signs-the-webhook"
SOON = 30.0  # far from what a sink that holds an answer back would take
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
FLUSH_SECONDS = 2.0


class Receiver:
    """A web server that keeps what is posted to it. `answer` says how: a status, or something to
    call with the number of the request, from 1, that returns one; None: the connection ends."""

    def __init__(self, answer=204, port=0):
        self.posts = []  # (headers, body), as they came
        self._lock = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver._lock:
                    receiver.posts.append((self.headers, body))
                    count = len(receiver.posts)
                status = answer(count) if callable(answer) else answer
                self.close_connection = status is None
                if status is not None:
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/events"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,),
                                        daemon=True)
        self._thread.start()

    def bodies(self):
        with self._lock:
            return [json.loads(body) for _, body in self.posts]

    def events(self):
        """Of all bodies, each event once."""
        found = {}
        for body in self.bodies():
            for event in body["events"]:
                found.setdefault((body["journal"], event["seq"]), event)
        return list(found.values())

    def wait(self, event, count=1):
        """The first `count` events of a type."""
        return eventually(lambda: at_least(count, [one for one in self.events()
                                                   if one["event"] == event]),
                          message=f"the webhook did not get {count} {event}")

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Hold:
    """A receiver's answer that is kept back until `close`."""

    def __init__(self, status=None):
        self._status = status
        self._event = threading.Event()

    def __call__(self, _):
        self._event.wait(120)
        return self._status

    def close(self):
        self._event.set()


def assert_without_gaps(events):
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert not any("dropped" in event for event in events)
    times = [event["time"] for event in events]
    assert all(TIME.fullmatch(one) for one in times)
    assert times == sorted(times)


@pytest.fixture
def file(world):
    return world.path("events.json")


@pytest.fixture
def receiver(world):
    return world.keep(Receiver())


def tunnel_with(world, *options, **gateway_options):
    """A tunnel to an echo server through a gateway with these options."""
    return world.tunnel(world.echo_server().port, options=options, **gateway_options)


class Busy:
    """A gateway on which much has happened, what it knew, and whom it served."""

    def __init__(self, gateway, keys, server_port, client_address):
        self.gateway = gateway
        self.keys = keys
        self.server_port = server_port
        self.client_address = client_address


@pytest.fixture
def busy(world, file, receiver):
    """To all sinks: agents that came and went, one that was not let in, a session, one to nobody."""
    server = world.echo_server()
    secret = world.write("secret", SECRET + "\n")
    gateway = world.gateway("--events", file, "--events-webhook", receiver.url,
                            "--events-webhook-secret-file", secret, is_open=False)
    keys = {}
    for name, options in (("near", ["--user", "ann"]), ("far", [])):
        keys[name] = re.search(r"cvk_\S+", gateway.key("add", name, *options).stdout)[0]
    far = world.agent(gateway, "far", key=keys["far"])
    near = world.agent(gateway, "near", f"0:{KEY}@far:127.0.0.1:{server.port}",
                       f"0:{KEY}@nobody:127.0.0.1:9", key=keys["near"])
    with connect(near.port(0)) as client:
        client.sendall(b"x" * 1000)
        assert receive_exactly(client, 1000) == b"x" * 1000
        address = "%s:%d" % client.getsockname()
        wait_for_events(file, "session.opened")
    wait_for_events(file, "session.closed")
    expect_session_reset(near.port(1))
    wait_for_events(file, "session.refused")
    assert world.bare_agent("far-again", "--url", gateway.url(), "--name", "far", "--key",
                            keys["near"]).wait() == 3
    wait_for_events(file, "auth.failed")
    far.stop()
    wait_for_events(file, "agent.unregistered")
    return Busy(gateway, keys, server.port, address)


HEAD = {"event", "time", "seq"}
AGENT = HEAD | {"agent", "address", "dialect"}
SESSION = HEAD | {"session", "source", "source_user", "source_address", "client", "agent", "kind",
                  "host", "port", "key_sha256", "reason"}
FIELDS = {
    "agent.registered": AGENT,
    "agent.unregistered": AGENT | {"seconds", "reason"},
    "session.opened": SESSION,
    "session.refused": SESSION | {"code"},
    "session.closed": SESSION | {"code", "sent", "received", "seconds", "ended_by"},
    "auth.failed": HEAD | {"agent", "address", "code", "reason"},
}


def test_each_event_has_its_fields(busy, file):
    events = read_events(file)
    assert_without_gaps(events)
    assert {event["event"] for event in events} == set(FIELDS)
    for event in events:
        fields = set(event)
        if event["event"].startswith("agent.") and event["agent"] == "near":
            assert event["user"] == "ann"
            fields.remove("user")
        assert fields == FIELDS[event["event"]], event

    def first(name, **fields):
        return wait_for_events(file, name, **fields)[0]

    registered = first("agent.registered", agent="far")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", registered["address"])
    assert registered["dialect"] == "culvert.1"
    gone = first("agent.unregistered", agent="far")
    assert gone["address"] == registered["address"]
    assert 0 < gone["seconds"] < 60
    opened, closed = first("session.opened"), first("session.closed")
    refused = first("session.refused")
    assert opened["session"] == closed["session"] != refused["session"]
    for event, agent, port in ((opened, "far", busy.server_port),
                               (closed, "far", busy.server_port), (refused, "nobody", 9)):
        assert (event["source"], event["source_user"], event["agent"]) == ("near", "ann", agent)
        assert (event["kind"], event["host"], event["port"]) == ("tcp", "127.0.0.1", port)
        assert event["source_address"] == first("agent.registered", agent="near")["address"]
        assert event["key_sha256"] == KEY_HASH
    assert opened["client"] == closed["client"] == busy.client_address
    assert opened["reason"] and refused["reason"]
    assert refused["code"] == 3
    assert (closed["sent"], closed["received"]) == (1000, 1000)
    assert 0 < closed["seconds"] < 60
    assert (closed["code"], closed["ended_by"]) == (0, "source")
    failed = first("auth.failed")
    assert failed["agent"] == "far"
    assert failed["code"] == 2


def test_all_sinks_have_the_same(busy, file, receiver):
    last = read_events(file)[-1]
    receiver.wait(last["event"])
    assert receiver.events() == read_events(file)
    assert len({body["journal"] for body in receiver.bodies()}) == 1
    assert {body["dropped"] for body in receiver.bodies()} == {0}
    for event in read_events(file):
        name, number = event["event"], event["seq"]
        line = busy.gateway.wait_for(rf"INFO gateway: ({name} seq={number} .*)", stream="err")[1]
        shown = dict(re.findall(r' (\w+)=("(?:[^"\\]|\\.)*"|\S*)', line))
        assert set(shown) == set(event) - {"event", "time"}
        for field in ("agent", "address", "user", "source_user", "client", "port", "key_sha256", "sent",
                      "code"):
            if field in event:
                assert shown[field] == str(event[field])


def test_the_signature(busy, receiver):
    receiver.wait("agent.unregistered")
    for headers, body in receiver.posts:
        digest = hmac.new(SECRET.encode(), body, "sha256").hexdigest()
        assert headers["Culvert-Signature"] == "sha256=" + digest
        assert headers["Content-Type"] == "application/json"


def test_a_secret_that_is_rotated(world, receiver):
    """The next POST is signed with what the file holds then; a file that is wrong changes nothing."""
    secret = world.write("secret", "the-first-one\n")
    gateway = world.gateway("--events-webhook", receiver.url,
                            "--events-webhook-secret-file", secret)

    def signer(count):
        """Which of the secrets signs the POST of one more agent."""
        world.agent(gateway, f"agent{count}")
        receiver.wait("agent.registered", count)
        headers, body = receiver.posts[-1]
        return [word for word in ("the-first-one", "the-second-one") if headers[
            "Culvert-Signature"] == "sha256=" + hmac.new(word.encode(), body, "sha256").hexdigest()]

    assert signer(1) == ["the-first-one"]
    replace(world, "secret", "the-second-one\n")
    gateway.signal(signal.SIGHUP)
    assert signer(2) == ["the-second-one"]
    replace(world, "secret", "")
    assert signer(3) == ["the-second-one"]
    gateway.wait_for("keeping the webhook's old secret: .*secret", stream="err")
    assert gateway.count("read the webhook's secret in .* again") == 1
    for word in ("the-first-one", "the-second-one"):
        assert word not in gateway.output()


def test_no_key_is_told(busy, file, receiver):
    receiver.wait("agent.unregistered")
    with open(file, encoding="ascii") as opened:
        told = opened.read()
    told += busy.gateway.output() + "".join(str(headers) + body.decode()
                                            for headers, body in receiver.posts)
    assert KEY_HASH in told
    for secret in (KEY, SECRET, *busy.keys.values()):
        assert secret not in told
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600


@pytest.mark.threads
def test_numbers_have_no_gaps(world, file, receiver):
    """Not with sessions on several loops either."""
    tunnel = tunnel_with(world, "--events", file, "--events-webhook", receiver.url, threads=4)
    for _ in range(100):
        tunnel.check()
    wait_for_events(file, "session.closed", 100)
    events = read_events(file)
    assert_without_gaps(events)
    receiver.wait("session.closed", 100)
    assert receiver.events() == events
    sessions = [event["session"] for event in events if event["event"] == "session.opened"]
    assert len(set(sessions)) == 100


def test_what_happens_during_a_post_goes_together(world, file):
    hold = Hold(200)
    world.keep(hold)
    receiver = world.keep(Receiver(lambda count: hold(count) if count == 1 else 200))
    tunnel = tunnel_with(world, "--events", file, "--events-webhook", receiver.url)
    for _ in range(60):
        tunnel.check()
    wait_for_events(file, "session.closed", 60)
    hold.close()
    receiver.wait("session.closed", 60)
    assert receiver.events() == read_events(file)
    first, second, *_ = [len(body["events"]) for body in receiver.bodies()]
    assert first <= 2
    assert second == 100


def test_a_log_of_json_has_events_too(world):
    tunnel = tunnel_with(world, "--log-format", "json")
    tunnel.check()
    tunnel.gateway.wait_for("session.closed")
    entries = [json.loads(line) for line in tunnel.gateway.output("err").splitlines()]
    opened = [entry["message"] for entry in entries if "session.opened" in entry["message"]]
    assert len(opened) == 1
    assert "source=agent1" in opened[0]


def test_rotation(world, file):
    tunnel = tunnel_with(world, "--events", file)
    moved = world.path("events.json.1")
    tunnel.check()
    wait_for_events(file, "session.closed")
    os.rename(file, moved)
    tunnel.check()
    wait_for_events(moved, "session.closed", 2)
    tunnel.gateway.signal(signal.SIGHUP)
    eventually(lambda: os.path.exists(file))
    tunnel.check()
    wait_for_events(file, "session.closed")
    assert_without_gaps(read_events(moved) + read_events(file))
    assert len([1 for event in read_events(moved) if event["event"] == "session.closed"]) == 2


def test_a_file_is_continued(world, file):
    for count in (1, 2):
        gateway = world.gateway("--events", file)
        world.agent(gateway, "agent1").stop()
        wait_for_events(file, "agent.unregistered", count)
        gateway.stop()
    numbers = [event["seq"] for event in read_events(file)]
    assert numbers == [1, 2, 1, 2]


def test_a_directory_that_is_gone_for_a_while(world):
    directory = world.path("log")
    file = os.path.join(directory, "events.json")
    os.mkdir(directory)
    tunnel = tunnel_with(world, "--events", file)
    wait_for_events(file, "agent.registered", 2)
    os.unlink(file)
    os.rmdir(directory)

    def is_told():
        tunnel.check()
        return tunnel.gateway.count("cannot write events to .*events.json")

    eventually(is_told)
    tunnel.check()
    os.mkdir(directory)
    tunnel.gateway.wait_for("events are written to .* again")
    tunnel.check()
    eventually(lambda: os.path.exists(file))
    eventually(lambda: read_events(file) and read_events(file)[-1]["event"] == "session.closed")
    assert tunnel.gateway.count("cannot write events to .*events.json") == 1


def test_a_full_disk(world):
    tunnel = tunnel_with(world, "--events", "/dev/full")
    for _ in range(3):
        tunnel.check()
    tunnel.gateway.wait_for("cannot write events to /dev/full: no space")
    assert tunnel.gateway.stop() == 0
    assert tunnel.gateway.count("cannot write events") == 1
    assert tunnel.gateway.count(r"\d+ events could not be written to /dev/full") == 1


def check_quickly(tunnel, count=20):
    began = time.monotonic()
    for _ in range(count):
        tunnel.check()
    assert time.monotonic() - began < SOON


def stop_quickly(process):
    began = time.monotonic()
    assert process.stop() == 0
    return time.monotonic() - began


def test_a_receiver_that_says_nothing(world, file):
    """It delays neither sessions nor the other sinks, and the end for a bounded time."""
    hold = Hold()
    receiver = world.keep(Receiver(hold))
    world.keep(hold)
    tunnel = tunnel_with(world, "--events", file, "--events-webhook", receiver.url)
    eventually(lambda: receiver.posts)
    check_quickly(tunnel)
    wait_for_events(file, "session.closed", 20)
    tunnel.near.stop()
    tunnel.far.stop()
    assert stop_quickly(tunnel.gateway) < FLUSH_SECONDS + SOON
    assert tunnel.gateway.count(r"\d+ events were not delivered to the webhook") == 1


def test_a_second_signal_does_not_wait_for_a_receiver(world, file):
    """It ends the gateway with 0, also when the loops have ended and events are being delivered."""
    hold = Hold()
    receiver = world.keep(Receiver(hold))
    world.keep(hold)
    gateway = world.gateway("--events", file, "--events-webhook", receiver.url)
    world.agent(gateway, "a")
    eventually(lambda: receiver.posts)
    gateway.signal(signal.SIGTERM)
    gateway.wait_for("the gateway has ended")

    def is_gone():
        if gateway.is_running():
            gateway.signal(signal.SIGTERM)
        return not gateway.is_running()

    eventually(is_gone)
    assert gateway.returncode() == 0
    assert gateway.count("not delivered") == 0


def test_a_receiver_that_is_not_there(world, file):
    port = free_port()
    tunnel = tunnel_with(world, "--events", file, "--events-webhook",
                         f"http://user:password@127.0.0.1:{port}/a-secret-path")
    tunnel.gateway.wait_for(f"webhook at http://127.0.0.1:{port} takes no events")
    check_quickly(tunnel)
    wait_for_events(file, "session.closed", 20)
    receiver = world.keep(Receiver(port=port))
    receiver.wait("session.closed", 20)
    assert receiver.events() == read_events(file)
    assert receiver.posts[0][0]["Authorization"].startswith("Basic ")
    tunnel.gateway.wait_for("takes events again")
    assert tunnel.gateway.count("takes no events") == 1
    for word in ("password", "a-secret-path"):
        assert word not in tunnel.gateway.output()


def test_a_receiver_that_is_never_there(world):
    tunnel = tunnel_with(world, "--events-webhook", f"http://127.0.0.1:{free_port()}/")
    tunnel.gateway.wait_for("takes no events")
    check_quickly(tunnel)
    tunnel.near.stop()
    tunnel.far.stop()
    assert stop_quickly(tunnel.gateway) < FLUSH_SECONDS + SOON


@pytest.mark.parametrize("answer", [500, 503, 429, 408, None])
def test_an_answer_that_asks_for_another_attempt(world, answer):
    receiver = world.keep(Receiver(lambda count: answer if count <= 2 else 200))
    gateway = world.gateway("--events-webhook", receiver.url)
    world.agent(gateway, "agent1")
    eventually(lambda: len(receiver.posts) >= 3)
    bodies = [body for _, body in receiver.posts]
    assert bodies[0] == bodies[1] == bodies[2]
    gateway.wait_for("takes events again")
    world.agent(gateway, "agent2")
    receiver.wait("agent.registered", 2)
    assert_without_gaps(receiver.events())


@pytest.mark.parametrize("answer", [400, 404, 302])
def test_an_answer_that_refuses(world, answer):
    """The batch is dropped, counted, and told with the next one."""
    receiver = world.keep(Receiver(lambda count: answer if count == 1 else 200))
    gateway = world.gateway("--events-webhook", receiver.url)
    agent = world.agent(gateway, "agent1")
    gateway.wait_for(f"answered {answer}: 1 events are dropped")
    agent.stop()
    receiver.wait("agent.unregistered")
    assert [body["dropped"] for body in receiver.bodies()] == [0, 1]
    assert len(receiver.posts) == 2


def test_a_redirect_is_not_followed(world):
    other = world.keep(Receiver())

    def redirect(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 307 Go\r\nLocation: " + other.url.encode() +
                           b"\r\nContent-Length: 0\r\n\r\n")

    server = world.server(redirect)
    gateway = world.gateway("--events-webhook", f"http://127.0.0.1:{server.port}/")
    world.agent(gateway, "agent1")
    gateway.wait_for("answered 307: 1 events are dropped")
    assert not other.posts


def test_what_is_left_is_sent_at_the_end(world, receiver):
    gateway = world.gateway("--events-webhook", receiver.url)
    world.agent(gateway, "agent1")
    assert gateway.stop() == 0
    assert [event["event"] for event in receiver.events()] == ["agent.registered",
                                                               "agent.unregistered"]


RELOADED = HEAD | {"file", "ok"}


def replace(world, name, content):
    """At once, since the gateway looks at the file whenever it changes."""
    os.rename(world.write(name + ".new", content), world.path(name))


def test_rules_that_are_read_again(world, file, receiver):
    server = world.echo_server()
    rules = world.write("rules.acl", f"allow agent1 -> agent2 127.0.0.1 {server.port}\n")
    tunnel = world.tunnel(server.port, 9, policy=None, options=[
        "--acl", rules, "--events", file, "--events-webhook", receiver.url])
    tunnel.check()
    expect_session_reset(tunnel.port(1))
    refused = wait_for_events(file, "session.refused")[0]
    assert refused["code"] == 2
    assert refused["reason"]
    opened = wait_for_events(file, "session.opened")[0]
    assert "rules.acl:1" in opened["reason"]
    replace(world, "rules.acl", "nonsense\n")
    tunnel.gateway.signal(signal.SIGHUP)
    bad = wait_for_events(file, "policy.reloaded", ok=False)[0]
    assert set(bad) == RELOADED | {"reason"}
    assert bad["file"] == rules
    assert "rules.acl:1" in bad["reason"]
    tunnel.check()
    replace(world, "rules.acl", "deny * -> * * *\n")
    tunnel.gateway.signal(signal.SIGHUP)
    good = wait_for_events(file, "policy.reloaded", ok=True)[0]
    assert set(good) == RELOADED
    assert good["file"] == rules
    expect_session_reset(tunnel.port(0))
    wait_for_events(file, "session.refused", 2)
    assert_without_gaps(read_events(file))
    receiver.wait("session.refused", 2)
    assert receiver.events() == read_events(file)


def start_badly(world, *options):
    """Starts a gateway that must not start; returns what it says."""
    result = culvert("gateway", "--listen", "127.0.0.1:0", "--auth-grant", "--open", "--data",
                     world.path("data"), *options)
    assert result.returncode in (1, 2), result.stderr
    assert "listening" not in result.stdout
    return result.stderr


@pytest.mark.parametrize("options,said", [
    (["--events", "/nowhere/events.json"], "/nowhere/events.json"),
    (["--events", "/"], "directory"),
    (["--events-webhook", "nonsense"], "URL"),
    (["--events-webhook", "ftp://127.0.0.1/"], "http"),
    (["--events-webhook", "http://127.0.0.1:1/", "--events-webhook-secret-file", "/nowhere/key"],
     "/nowhere/key"),
])
def test_what_cannot_be(world, options, said):
    assert said in start_badly(world, *options)


def test_a_secret_that_others_may_read(world):
    secret = world.write("secret", SECRET + "\n", mode=0o644)
    said = start_badly(world, "--events-webhook", "http://127.0.0.1:1/",
                       "--events-webhook-secret-file", secret)
    assert secret in said
    assert SECRET not in said


def test_libcurl_is_loaded_only_for_a_webhook(world, file, receiver):
    def has_libcurl(process):
        with open(f"/proc/{process.pid}/maps", encoding="ascii") as maps:
            return "libcurl" in maps.read()

    assert not has_libcurl(world.gateway("--events", file))
    assert has_libcurl(world.gateway("--events-webhook", receiver.url))
