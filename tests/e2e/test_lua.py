"""Policy scripts in a gateway: --auth-lua, its processes, and the examples."""

import json
import math
import os
import pwd
import re
import shutil
import signal
import tempfile
import threading

import pytest

from culvert.lua import Script, WebService, example
from culvert.peers import (connect, echo_once, expect_session_reset, in_parallel,
                           receive_exactly)
from culvert.process import Process, eventually, run
from culvert.timing import BUSY, median, round_trips, seconds_of
from culvert.users import can_be_others
from culvert.world import BINARY, culvert, environment

ALLOW = "function connect() return true end\n"


def scripted(world, script, *options, **gateway_options):
    """A gateway that asks this script; its file is in `.script`."""
    path = world.write(world.unique("policy") + ".lua", script)
    gateway = world.gateway("--auth-lua", path, *options, policy=None, **gateway_options)
    gateway.script = path
    return gateway


def workers_of(gateway):
    """The ids of its worker processes."""
    return gateway.children()


def runs(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until_busy(gateway):
    """One of its workers is in a loop, or was until its time was over and it was replaced."""

    def cpu_time(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            return math.inf
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    start = {worker: cpu_time(worker) for worker in workers_of(gateway)}
    eventually(lambda: any(cpu_time(worker) > time + 0.1 or time == math.inf
                           for worker, time in start.items()),
               message="no worker is busy")


# ---- sessions ----


@pytest.mark.threads
def test_a_script_decides(world):
    server = world.echo_server()
    other = world.echo_server()
    gateway = scripted(world, f"""
        function connect(request)
            if request:port() == {server.port} then return true end
            return false, "port " .. request:port() .. " is not for " .. request:source()
        end""", threads=2)
    tunnel = world.tunnel(server.port, other.port, gateway=gateway)
    tunnel.check(0)
    expect_session_reset(tunnel.port(1))
    reason = f"port {other.port} is not for agent1"
    gateway.wait_for(rf"refused.*{reason}")
    tunnel.near.wait_for(reason)
    assert other.accepted == 0
    in_parallel(lambda _: echo_once(tunnel.port(0)), range(40), 20)


def test_what_a_script_is_told(world):
    server = world.echo_server()
    gateway = scripted(world, """
        function connect(request)
            print(request:source(), request:user(), request:gatename(), request:ip(),
                  request:port(), request:kind(), request:address(), #request:key())
            return request:key() == "sesame"
        end""", is_open=False)
    key = re.search(r"cvk_\S+", gateway.key("add", "near", "--user", "ann").stdout)[0]
    world.agent(gateway, "far", key=gateway.add_key("far"))
    near = world.agent(gateway, "near", f"0:sesame@far:localhost:{server.port}",
                       f"0:far:127.0.0.1:{server.port}", key=key)
    echo_once(near.port(0))
    expect_session_reset(near.port(1))
    gateway.wait_for(rf"script: near ann far localhost {server.port} tcp 127\.0\.0\.1:\d+ 6$")
    gateway.wait_for(rf"script: near ann far 127\.0\.0\.1 {server.port} tcp 127\.0\.0\.1:\d+ 0$")
    assert "sesame" not in gateway.output()


@pytest.mark.parametrize("line,reason", [
    ("return 1", r"connect returned a number instead of a boolean"),
    ("return", r"connect returned a nil instead of a boolean"),
    ("local a; return a.b", r"policy-\d+\.lua:2: attempt to index"),
    ("error('bad key ' .. request:key())", r"policy-\d+\.lua:2: bad key \[key\]"),
    ("connect = nil; error('gone')", r"policy-\d+\.lua:2: gone"),
    ("while true do end", r"the script did not answer within 1 s"),
    ("return (('a'):rep(40)):find(('a?'):rep(40) .. ('a'):rep(41)) ~= nil",
     r"the script did not answer within 1 s"),
    ("local n = 1 while n > 0 do n = n % 7 + 1 end", r"the script did not answer within 1 s"),
    ("local t = {} while true do t[#t + 1] = {t} end", r"the script is out of memory"),
])
def test_a_script_that_gives_no_answer_refuses(world, line, reason):
    server = world.echo_server()
    gateway = scripted(world, f"function connect(request)\n{line}\nend",
                       *(["--auth-timeout", "1s"] if "within" in reason else []),
                       "--lua-workers", "1")
    world.agent(gateway, "far")
    near = world.agent(gateway, "near", f"0:sesame@far:127.0.0.1:{server.port}")
    expect_session_reset(near.port())
    gateway.wait_for(rf"refused.*{reason}")
    near.wait_for(reason)
    assert server.accepted == 0
    assert "sesame" not in gateway.output() + near.output()


def test_a_worker_that_dies_is_replaced(world):
    server = world.echo_server()
    gateway = scripted(world, ALLOW, "--lua-workers", "2")
    tunnel = world.tunnel(server.port, gateway=gateway)
    tunnel.check()
    before = workers_of(gateway)
    assert len(before) == 2
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    eventually(lambda: len(workers_of(gateway)) == 2 and not set(workers_of(gateway)) & set(before),
               message="the workers were not replaced")
    tunnel.check()
    gateway.wait_for("ended by signal 9")


@pytest.mark.threads
def test_a_slow_script_holds_up_nothing_else(world):
    """200 sessions ask at once, a second each: data on an open session and what the rules refuse do
    not wait for them."""
    slow = world.keep(WebService(lambda _: threading.Event().wait(1) or (200, {"allow": True})))
    server = world.echo_server()
    refused = world.echo_server()
    rules = world.write("rules", f"deny * -> * * {refused.port}\nallow * -> * * *\n")
    gateway = scripted(world, example("ask-a-web-service.lua").replace(
        "http://127.0.0.1:8000/may", slow.url).replace('"2s"', '"20s"'),
        "--acl", rules, "--lua-workers", "20", "--auth-timeout", "30s", threads=2)
    tunnel = world.tunnel(server.port, refused.port, gateway=gateway)
    open_session = tunnel.connect()
    open_session.sendall(b"x")
    receive_exactly(open_session, 1)

    clients = world.keep(Closing([connect(tunnel.port()) for _ in range(200)]))
    eventually(lambda: len(slow.requests) > 20, message="the script was not asked")
    direct = world.keep(connect(server.port))
    echoes, refusals, alone = [], [], []
    while len(slow.requests) < 180:
        echoes += round_trips(open_session, 1)
        refusals.append(seconds_of(lambda: expect_session_reset(tunnel.port(1))))
        alone += round_trips(direct, 1)
        threading.Event().wait(0.02)
    for waited in (echoes, refusals):
        assert len(waited) > 10
        assert median(waited) < 0.25 + BUSY * median(alone), waited
    for client in clients.connections:
        client.sendall(b"y")
    for client in clients.connections:
        receive_exactly(client, 1)


def test_one_who_asks_much_holds_up_himself(world):
    """Thirty sessions of one agent wait, of which each takes a while; another agent's is next."""
    server = world.echo_server()
    gateway = scripted(world, """
        function connect(request)
            local start = os.clock()
            while os.clock() - start < 0.3 do end
            return true
        end""", "--lua-workers", "1")
    tunnel = world.tunnel(server.port, gateway=gateway)
    other = world.agent(gateway, "other", f"0:agent2:127.0.0.1:{server.port}")
    world.keep(Closing([connect(tunnel.port()) for _ in range(30)]))
    wait_until_busy(gateway)
    echo_once(other.port())
    assert server.accepted < 15


class Closing:
    """Several connections that are closed as one."""

    def __init__(self, connections):
        self.connections = connections

    def close(self):
        for connection in self.connections:
            connection.close()


def test_rules_are_asked_before_the_script(world):
    server = world.echo_server()
    rules = world.write("rules", "deny * -> * * *\n")
    gateway = scripted(world, 'function connect() print("asked") return true end', "--acl", rules)
    tunnel = world.tunnel(server.port, gateway=gateway)
    expect_session_reset(tunnel.port())
    gateway.wait_for(r"refused.*rules:1")
    assert "script: asked" not in gateway.output()


def test_grant_does_not_overrule_the_script(world):
    server = world.echo_server()
    gateway = scripted(world, "function connect() return false end", "--auth-grant")
    tunnel = world.tunnel(server.port, gateway=gateway)
    expect_session_reset(tunnel.port())
    gateway.wait_for("the script refuses it")


def test_a_client_that_leaves_before_the_answer(world):
    server = world.echo_server()
    gateway = scripted(world, """
        function connect(request)
            while request:key() == "slow" do end
            return true
        end""", "--auth-timeout", "1s", "--lua-workers", "1")
    world.agent(gateway, "far")
    near = world.agent(gateway, "near", f"0:slow@far:127.0.0.1:{server.port}",
                       f"0:far:127.0.0.1:{server.port}")
    for _ in range(3):
        connect(near.port(0)).close()
    echo_once(near.port(1))


def test_an_agent_that_leaves_before_the_answer(world):
    server = world.echo_server()
    gateway = scripted(world, """
        function connect(request)
            while request:key() == "slow" do end
            return true
        end""", "--auth-timeout", "1s", "--lua-workers", "1")
    tunnel = world.tunnel(server.port, gateway=gateway)
    leaving = world.agent(gateway, "leaving", f"0:slow@agent2:127.0.0.1:{server.port}")
    world.keep(connect(leaving.port()))
    wait_until_busy(gateway)
    leaving.kill()
    tunnel.check()


# ---- start and end ----


@pytest.mark.parametrize("script,why", [
    ("function connect(\n", r"policy-1\.lua:2: '?<name>|policy-1\.lua:\d: "),
    ("\x1bLJ", r"policy-1\.lua: is bytecode"),
    ("require('socket')", r"policy-1\.lua:1: module 'socket' not found"),
    ("error('no database')", r"policy-1\.lua:1: no database"),
    ("x = 1", r"policy-1\.lua: it defines no function connect"),
    ("connect = true", r"policy-1\.lua: it defines no function connect"),
])
def test_a_script_that_cannot_be_read_stops_the_start(world, script, why):
    path = world.write(world.unique("policy") + ".lua", script)
    result = culvert("gateway", "--listen", "127.0.0.1:0", "--open", "--data", world.path("data"),
                     "--auth-lua", path)
    assert result.returncode == 1
    assert re.search(re.escape(os.path.dirname(path)) + "/" + f"(?:{why})", result.stderr), \
        result.stderr
    assert "listening" not in result.stdout


def test_a_script_that_loses_connect_is_not_taken(world):
    path = world.write("policy.lua", ALLOW)
    gateway = world.gateway("--auth-lua", path, policy=None)
    world.write("policy.lua", "x = 1")
    gateway.signal(signal.SIGHUP)
    gateway.wait_for("the policy stays as it was: .*policy.lua: it defines no function connect")
    world.tunnel(world.echo_server().port, gateway=gateway).check()


def test_a_script_that_is_not_there_stops_the_start(world):
    result = culvert("gateway", "--listen", "127.0.0.1:0", "--open", "--data", world.path("data"),
                     "--auth-lua", "/nonexistent/policy.lua")
    assert result.returncode == 1
    assert "/nonexistent/policy.lua: No such file or directory" in result.stderr


def test_a_script_that_never_ends_stops_the_start(world):
    path = world.write("policy.lua", ALLOW + "while true do end")
    result = culvert("gateway", "--listen", "127.0.0.1:0", "--open", "--data", world.path("data"),
                     "--auth-lua", path, "--lua-workers", "1", timeout=30)
    assert result.returncode == 1
    assert f"{path}: was not read within 10 s" in result.stderr


def test_workers_end_with_the_gateway(world):
    gateway = scripted(world, ALLOW, "--lua-workers", "3")
    workers = workers_of(gateway)
    assert len(workers) == 3
    assert gateway.stop() == 0
    assert not any(runs(worker) for worker in workers)


def test_workers_end_with_a_gateway_that_is_killed(world):
    """Also one that is busy, and hears nothing."""
    server = world.echo_server()
    gateway = scripted(world, "function connect() while true do end end", "--lua-workers", "2",
                       "--auth-timeout", "60s")
    tunnel = world.tunnel(server.port, gateway=gateway)
    workers = workers_of(gateway)
    tunnel.connect()
    wait_until_busy(gateway)
    gateway.kill()
    eventually(lambda: not any(runs(worker) for worker in workers),
               message="a worker survived the gateway")


def test_a_stop_does_not_wait_for_the_script(world):
    server = world.echo_server()
    gateway = scripted(world, "function connect() while true do end end", "--auth-timeout", "120s")
    tunnel = world.tunnel(server.port, gateway=gateway)
    connections = [tunnel.connect() for _ in range(10)]
    tunnel.near.kill()
    assert gateway.stop() == 0
    assert connections


def test_the_worker_is_not_for_users(world):
    result = culvert("lua-worker")
    assert result.returncode == 2
    assert result.stderr == "culvert lua-worker: is started by a gateway alone\n"
    assert "lua-worker" not in culvert("help").stdout
    assert "lua-worker" not in culvert("lua-workr").stderr.replace("lua-workr", "")


# ---- reload ----


def test_reload(world):
    server = world.echo_server()
    events = world.path("events")
    gateway = scripted(world, ALLOW, "--events", events)
    tunnel = world.tunnel(server.port, gateway=gateway)
    open_session = tunnel.connect()
    tunnel.check()
    rewrite(gateway, "function connect() return false, 'closed now' end")
    gateway.signal(signal.SIGHUP)
    gateway.wait_for(r"the script \S+policy-\d+\.lua was read again")
    expect_session_reset(tunnel.port())
    gateway.wait_for("refused.*closed now")
    open_session.sendall(b"still open")
    receive_exactly(open_session, 10)

    mark = gateway.mark()
    rewrite(gateway, "function connect() return true end\nx x\n")
    gateway.signal(signal.SIGHUP)
    gateway.wait_for(r"policy-\d+\.lua:2: ", since=mark)
    expect_session_reset(tunnel.port())
    rewrite(gateway, ALLOW)
    mark = gateway.mark()
    gateway.signal(signal.SIGHUP)
    gateway.wait_for("was read again", since=mark)
    tunnel.check()
    with open(events, encoding="ascii") as file:
        found = [json.loads(line) for line in file]
    reloads = [event for event in found if event["event"] == "policy.reloaded"]
    assert [event["ok"] for event in reloads] == [True, False, True]
    assert reloads[0]["file"] == gateway.script
    assert re.search(r"policy-\d+\.lua:2: ", reloads[1]["reason"])


def rewrite(gateway, script):
    with open(gateway.script, "w", encoding="utf-8") as file:
        file.write(script)


@pytest.mark.threads
def test_reloads_among_sessions(world):
    server = world.echo_server()
    gateway = scripted(world, ALLOW, threads=2)
    tunnel = world.tunnel(server.port, gateway=gateway)
    while gateway.count("was read again") < 5:
        gateway.signal(signal.SIGHUP)
        in_parallel(lambda _: echo_once(tunnel.port()), range(20), 8)
    eventually(lambda: len(workers_of(gateway)) == 4, message="workers are left over")


# ---- register and on_event ----


def test_register(world):
    gateway = scripted(world, ALLOW + """
        function register(agent)
            print(agent:name(), agent:user(), agent:address())
            if agent:name() == "broken" then error("who is this") end
            return agent:name() ~= "eve", "this one not"
        end""")
    world.agent(gateway, "ann")
    gateway.wait_for(r"script: ann  127\.0\.0\.1:\d+$")
    eve = world.agent(gateway, "eve", wait=False)
    assert eve.wait() == 3
    assert "this one not" in eve.output()
    gateway.wait_for("eve.*this one not")
    broken = world.agent(gateway, "broken", wait=False)
    broken.wait_for(r"refused: policy-\d+\.lua:\d+: who is this")
    gateway.wait_for(r"broken.*policy-\d+\.lua:\d+: who is this")
    assert "registered as" not in broken.output()


def test_on_event(world):
    server = world.echo_server()
    gateway = scripted(world, ALLOW + """
        function on_event(event)
            print(event.event, event.seq, event.agent, event.source, event.port)
            if event.event == "session.closed" then error("enough") end
        end""", "--lua-workers", "1")
    tunnel = world.tunnel(server.port, gateway=gateway)
    tunnel.check()
    gateway.wait_for(r"script: agent\.registered \d+ agent1 nil nil")
    gateway.wait_for(rf"script: session\.opened \d+ agent2 agent1 {server.port}")
    gateway.wait_for(r"on_event: policy-\d+\.lua:5: enough")
    assert len(workers_of(gateway)) == 2


def test_an_on_event_that_hangs_holds_up_nothing(world):
    server = world.echo_server()
    gateway = scripted(world, ALLOW + "function on_event() while true do end end",
                       "--lua-workers", "1", "--auth-timeout", "1s")
    tunnel = world.tunnel(server.port, gateway=gateway)
    for _ in range(5):
        tunnel.check()
    gateway.wait_for("on_event: the script did not answer within 1 s")
    tunnel.check()


# ---- Hubble ----


@pytest.mark.parametrize("option", ["-authlua", "--authlua", "--auth-lua"])
def test_the_options_of_hubble(world, option):
    path = world.write("policy.lua", ALLOW)
    command = ["hubble-proxy"] if option == "-authlua" else ["gateway", "--open"]
    data = [] if option == "-authlua" else ["--data", world.path("data")]
    process = world.process("proxy", [BINARY, *command, "-listen", "127.0.0.1:0", option, path,
                                      *data])
    process.wait_for("listening on")
    assert process.is_running()


# ---- examples ----


def test_example_that_asks_a_web_service(world):
    def answer(request):
        if request["port"] == 22:
            return 200, {"allow": request["user"] == "ann"}
        return {80: (200, {"allow": False, "reason": "not on weekdays"}), 81: (500, {}),
                82: (200, b"<html>"), 83: (200, [])}[request["port"]]

    service = world.keep(WebService(answer))
    text = example("ask-a-web-service.lua").replace("http://127.0.0.1:8000/may", service.url)
    script = world.keep(Script(text))
    assert script.ask(port=22, key="sesame").verdict == "allow"
    assert service.requests == [{"source": "laptop", "user": "ann", "agent": "office",
                                 "host": "127.0.0.1", "port": 22, "key": "sesame"}]
    assert script.ask(port=22, user="eve").verdict == "refuse"
    refused = script.ask(port=80)
    assert (refused.verdict, refused.reason) == ("refuse", "not on weekdays")
    for port in (81, 82):
        assert script.ask(port=port).reason == "nobody can be asked about this session"
    assert script.ask(port=83).verdict == "refuse"
    service.close()
    gone = script.ask(port=22)
    assert (gone.verdict, gone.reason) == ("refuse", "nobody can be asked about this session")
    assert "connect" in gone.printed[0].lower()


def test_example_with_a_table_of_grants(world):
    script = world.keep(Script(example("table-of-grants.lua")))

    def ask(key, agent, host, port):
        return script.ask(key=key, agent=agent, host=host, port=port).verdict

    assert ask("maintenance", "anybody", "192.0.2.1", 22) == "allow"
    assert ask("maintenance", "anybody", "192.0.2.1", 23) == "refuse"
    assert ask("reports", "office", "10.0.0.7", 5433) == "allow"
    assert ask("reports", "home", "10.0.0.7", 5433) == "refuse"
    assert ask("reports", "office", "10.0.0.8", 5433) == "refuse"
    assert ask("wiki", "office", "wiki.intranet", 443) == "allow"
    assert ask("", "office", "wiki.intranet", 443) == "refuse"
    assert script.ask(key="x").reason == "no grant for this key"


@pytest.mark.parametrize("day,hour,verdict", [
    (2, 8, "allow"), (6, 17, "allow"), (2, 7, "refuse"), (2, 18, "refuse"), (1, 12, "refuse"),
    (7, 12, "refuse")])
def test_example_by_time_of_day(world, day, hour, verdict):
    clock = f"os.date = function(form) assert(form == '*t') return {{wday={day}, hour={hour}}} end "
    script = world.keep(Script(clock + example("by-time-of-day.lua")))
    answer = script.ask(user="somebody")
    assert answer.verdict == verdict
    assert verdict == "allow" or "Monday to Friday, 8 to 18 o'clock" in answer.reason
    assert script.ask(user="ann").verdict == "allow"


def test_example_by_time_of_day_with_the_real_clock(world):
    script = world.keep(Script(example("by-time-of-day.lua"), TZ="UTC"))
    assert script.ask(user="somebody").verdict in ("allow", "refuse")
    assert script.ask(user="bob").verdict == "allow"


def test_every_example_runs_in_a_gateway(world):
    server = world.echo_server()
    folder = os.path.join(os.path.dirname(BINARY), os.pardir, "examples", "lua")
    names = ["ask-a-web-service.lua", "by-time-of-day.lua", "table-of-grants.lua"]
    assert sorted(os.listdir(folder)) == names
    script = example("table-of-grants.lua").replace("{ 22 }", f"{{ {server.port} }}")
    gateway = scripted(world, script)
    world.agent(gateway, "far")
    near = world.agent(gateway, "near", f"0:maintenance@far:127.0.0.1:{server.port}",
                       f"0:wrong@far:127.0.0.1:{server.port}")
    echo_once(near.port(0))
    expect_session_reset(near.port(1))


def test_a_worker_has_no_file_of_the_gateway(world):
    """Neither the store nor the listener nor another worker's pipe: its own three and its pipes."""
    gateway = scripted(world, ALLOW, "--lua-workers", "4", "--events", world.path("events.json"))
    world.agent(gateway, "agent1")
    workers = workers_of(gateway)
    assert len(workers) == 4
    for worker in workers:
        names = {int(name): os.readlink(f"/proc/{worker}/fd/{name}")
                 for name in os.listdir(f"/proc/{worker}/fd")}
        assert max(names) < 6, names
        assert not [name for number, name in names.items()
                    if number > 2 and not name.startswith(("pipe:", "socket:"))], names


# ---- a script that means harm ----

HOSTILE = """
local path = "{path}"
local tries = {{
    execute = function() return os.execute("touch " .. path) end,
    popen = function() return io.popen("touch " .. path) end,
    write = function() return io.open(path, "w") end,
    read = function() return io.open("{secret}") end,
    lines = function() return io.lines("/etc/passwd") end,
    remove = function() return os.remove("{secret}") end,
    rename = function() return os.rename("{secret}", path) end,
    tmpname = function() return os.tmpname() end,
    getenv = function() return os.getenv("PATH") end,
    exit = function() return os.exit(0) end,
    ffi = function() return require("ffi").C.getpid() end,
    jit = function() return require("jit") end,
    loadlib = function() return package.loadlib("libc.so.6", "system") end,
    preload = function() return package.preload end,
    debug = function() return debug.getregistry() end,
    loadfile = function() return assert(loadfile("{secret}")) end,
    dofile = function() return dofile("{secret}") end,
    bytecode = function() return assert(load("\\27LJ\\2\\0\\0")) end,
    dump = function() return string.dump(function() end) end,
    file_url = function()
        return assert(require("http").get("file://{secret}"))
    end,
}}
function connect(request)
    for name, try in pairs(tries) do
        if pcall(try) then
            return false, name .. " worked"
        end
    end
    return request:source() == "innocent", "all of it failed"
end
"""


def test_a_script_that_means_harm_gets_nowhere(world):
    """It tries what scripts use to break out, and is asked about innocent sessions all the while."""
    target = world.path("made-by-the-script")
    secret = world.write("secret", "return 1\n")
    gateway = scripted(world, HOSTILE.format(path=target, secret=secret))
    server = world.echo_server()
    world.agent(gateway, "far")
    innocent = world.agent(gateway, "innocent", f"0:far:127.0.0.1:{server.port}")
    other = world.agent(gateway, "other", f"0:far:127.0.0.1:{server.port}")
    workers = workers_of(gateway)
    for _ in range(5):
        echo_once(innocent.port())
    expect_session_reset(other.port())
    other.wait_for("all of it failed", stream="err")
    assert workers_of(gateway) == workers
    assert not os.path.exists(target)
    with open(secret, encoding="utf-8") as file:
        assert file.read() == "return 1\n"


# ---- as whom it runs ----

ROOT = pytest.mark.skipif(not can_be_others(), reason="needs to run as other users")


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def default_user():
    try:
        return pwd.getpwnam("culvert-lua")
    except KeyError:
        return pwd.getpwnam("nobody")


@ROOT
@pytest.mark.parametrize("name", [None, "daemon"])
def test_the_processes_of_root_run_as_another_user(world, name):
    """The script's file is root's alone; the gateway reads it."""
    user = pwd.getpwnam(name) if name else default_user()
    gateway = scripted(world, "function connect() return true end\n",
                       *(["--lua-user", name] if name else []))
    server = world.echo_server()
    world.agent(gateway, "far")
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{server.port}")
    echo_once(near.port())
    workers = workers_of(gateway)
    assert len(workers) == 4
    for worker in workers:
        status = status_of(worker)
        assert status["Uid"].split() == [str(user.pw_uid)] * 4
        assert status["Gid"].split() == [str(user.pw_gid)] * 4
        assert status["Groups"].split() == []
        assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == 0
    # Those that replace them, and those of a new script, too.
    os.kill(workers[0], signal.SIGKILL)
    since = gateway.mark()
    gateway.signal(signal.SIGHUP)
    gateway.wait_for(r"policy\.reloaded", since=since, stream="err")
    eventually(lambda: len(workers_of(gateway)) == 4 and
               not set(workers_of(gateway)) & set(workers),
               message="the script's old processes did not end")
    assert {status_of(worker)["Uid"].split()[1] for worker in workers_of(gateway)} == {
        str(user.pw_uid)}
    echo_once(near.port())


def test_the_processes_are_confined(world):
    gateway = scripted(world, "function connect() return true end\n")
    for worker in workers_of(gateway):
        status = status_of(worker)
        assert status["NoNewPrivs"] == "1"
        if os.path.exists("/proc/sys/kernel/seccomp"):
            assert status["Seccomp"] == "2"
        with open(f"/proc/{worker}/limits", encoding="ascii") as file:
            limits = file.read()
        assert re.search(r"Max core file size +1 +1 ", limits)
        assert re.search(r"Max file size +0 +0 ", limits)


def test_a_lua_user_that_is_not_there(world):
    script = world.write("policy.lua", "function connect() return true end\n")
    result = culvert("gateway", "--listen", "127.0.0.1:0", "--open", "--auth-lua", script,
                     "--data", world.path("data"), "--lua-user", "no-such-user")
    assert result.returncode == 1
    assert 'there is no user "no-such-user"' in result.stderr


def test_a_lua_user_needs_a_script():
    result = culvert("gateway", "--auth-grant", "--lua-user", "nobody")
    assert result.returncode == 2
    assert "need --auth-lua" in result.stderr


@ROOT
def test_without_root_only_the_own_user_is_possible():
    own = pwd.getpwnam("daemon")
    with tempfile.TemporaryDirectory(prefix="culvert-lua-user-", dir="/tmp") as place:
        program = shutil.copy(BINARY, place)
        script = os.path.join(place, "policy.lua")
        with open(script, "w", encoding="utf-8") as file:
            file.write("function connect() return true end\n")
        for path in (place, script):
            os.chown(path, own.pw_uid, own.pw_gid)
        as_daemon = ["setpriv", "--reuid", str(own.pw_uid), "--regid", str(own.pw_gid),
                     "--clear-groups", program, "gateway", "--listen", "127.0.0.1:0", "--open",
                     "--auth-lua", script, "--data", os.path.join(place, "data")]
        result = run([*as_daemon, "--lua-user", "nobody"], env=environment(HOME=place))
        assert result.returncode == 1
        assert "the script cannot run as nobody" in result.stderr
        gateway = Process("gateway", [*as_daemon, "--lua-user", "daemon"],
                          env=environment(HOME=place))
        try:
            gateway.wait_for("^listening on ", stream="out")
        finally:
            gateway.stop()
