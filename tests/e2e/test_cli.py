"""The command line: help, options, and what is said about wrong ones."""

import json
import os
import re
import resource
import signal
import subprocess

import pytest

from culvert.peers import connect, echo_once, free_port
from culvert.process import PATIENCE, run
from culvert.world import BINARY, culvert, environment

COMMANDS = ["gateway", "agent", "key", "version", "help"]


def assert_usage_error(result, *words):
    """One line on standard error that has all the words, nothing on standard output, code 2."""
    assert result.returncode == 2, result
    assert result.stdout == ""
    assert len(result.stderr.strip().split("\n")) == 1, result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


@pytest.mark.parametrize("arguments", [["help"], ["--help"], ["-help"], ["-h"]])
def test_help_names_the_commands(arguments):
    result = culvert(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    for command in COMMANDS:
        assert command in result.stdout


@pytest.mark.parametrize("command", ["gateway", "agent", "key"])
def test_help_of_a_command(command):
    result = culvert("help", command)
    assert (result.returncode, result.stderr) == (0, "")
    assert command in result.stdout
    for option in ("--help", "-help"):
        again = culvert(command, option)
        assert (again.returncode, again.stdout, again.stderr) == (0, result.stdout, "")


def test_help_names_every_option():
    text = culvert("help", "gateway").stdout
    for option in ("--listen", "--tls-cert", "--tls-key", "--auth-grant", "--auth-deny", "--data",
                   "--open", "--threads", "--max-memory", "--log-level", "--log-format"):
        assert option in text
    text = culvert("help", "agent").stdout
    for option in ("--url", "--name", "--key", "--key-file", "--ca", "--insecure", "--allow",
                   "CULVERT_KEY"):
        assert option in text


def test_version():
    result = culvert("version")
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(r"culvert \d+\.\d+\.\d+\S*\n", result.stdout)
    for option in ("--version", "-version"):
        assert culvert(option).stdout == result.stdout
    for words in (["version", "more"], ["--version", "more"]):
        assert_usage_error(culvert(*words), "culvert version: ", "\"more\"")


@pytest.mark.parametrize("words", [["key"], ["key", "add"], ["acl", "test"], ["hubble-agent"],
                                   ["version"]], ids=" ".join)
def test_help_of_commands_of_any_depth(words):
    """`help`, `--help` and `-h` print the same, whatever other words follow."""
    wanted = culvert("help", *words)
    assert (wanted.returncode, wanted.stderr) == (0, "")
    assert wanted.stdout.startswith(f"culvert {' '.join(words)}: ")
    for asked in (["-help", *words], ["--help", *words], ["-h", *words], [*words, "-h"],
                  ["help", *words, "--help"], [*words, "--wrong", "--help"]):
        result = culvert(*asked)
        assert (result.returncode, result.stdout, result.stderr) == (0, wanted.stdout, ""), asked


def test_help_of_help_names_the_commands():
    wanted = culvert("help").stdout
    for words in (["help", "--help"], ["help", "help"], ["--help", "-h"]):
        assert culvert(*words).stdout == wanted
    for count in (1, 7, 8, 100):
        assert culvert("help", "agent", *["more"] * count).stdout == culvert("help", "agent").stdout


def test_what_is_not_for_users_is_not_named():
    """The command with which a gateway starts a script process."""
    assert "lua-worker" not in culvert("help").stdout
    said = culvert("lua-worke")
    assert_usage_error(said, "unknown command lua-worke; `culvert help` lists all")


def test_a_program_of_an_older_name(world):
    """The program acts by the name of the link that starts it."""
    for name in ("hubble-proxy", "hubble-agent"):
        path = world.path(name)
        os.symlink(BINARY, path)
        for words in ([path], [BINARY, name]):
            result = run([*words, "--help"], env=environment())
            assert (result.returncode, result.stderr) == (0, "")
            assert result.stdout.startswith(f"culvert {name}: ")


@pytest.mark.parametrize("words", [["help"], ["--help"], ["version"], ["help", "agent"]],
                         ids=" ".join)
def test_output_that_is_not_taken_is_a_failure(words):
    """A full disk or a closed pipe is an error, and no signal ends the program."""
    with open("/dev/full", "w", encoding="ascii") as full:
        code = subprocess.run([BINARY, *words], stdout=full, env=environment(), check=False,
                              timeout=PATIENCE).returncode
    assert code == 1
    reader, writer = os.pipe()
    os.close(reader)
    code = subprocess.run([BINARY, *words], stdout=writer, env=environment(), check=False,
                          timeout=PATIENCE).returncode
    os.close(writer)
    assert code == 1


def test_no_command_is_a_usage_error():
    result = culvert()
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == culvert("help").stdout


@pytest.mark.parametrize("arguments, words", [
    (["agnet"], ["agnet", "agent"]),
    (["gateway", "--lisen", "1"], ["--lisen", "--listen"]),
    (["gateway", "-lisen=1"], ["lisen", "listen"]),
    (["agent", "--ulr", "ws://x"], ["--ulr", "--url"]),
    (["agent", "--name=a", "--url=ws://localhost:1", "--alow", "*"], ["--alow", "--allow"]),
    (["help", "gatway"], ["gatway", "gateway"]),
    (["key", "ad", "x"], ["ad", "add"]),
    (["gateway", "--auth-grant", "--threads", "many"], ["--threads", "many"]),
    (["gateway", "--auth-grant", "--threads", "0"], ["--threads", "0"]),
    (["gateway", "--auth-grant", "--max-memory", "lots"], ["--max-memory", "lots"]),
    (["gateway", "--auth-grant", "--listen", "127.0.0.1:70000"], ["--listen", "70000"]),
    (["gateway", "--auth-grant", "--log-level", "loud"], ["--log-level", "loud"]),
    (["gateway", "--auth-grant", "--log-format", "xml"], ["--log-format", "xml"]),
    (["gateway", "--auth-grant", "--listen"], ["--listen"]),
    (["gateway", "--auth-grant", "--open=maybe"], ["--open"]),
    (["gateway", "--auth-grant", "stray"], ["stray"]),
    (["gateway", "--auth-grant", "--open", "--tls-cert", "x.pem"], ["--tls-key"]),
    (["agent", "--name", "a"], ["--url"]),
    (["agent", "--url", "ws://localhost:1"], ["--name"]),
    (["agent", "--url", "ws://localhost:1", "--name", "a b"], ["--name", "a b"]),
    (["agent", "--url", "ws://localhost:1", "--name", "gateway"], ["--name", "not \"gateway\""]),
    (["key", "add"], ["NAME"]),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_usage_errors(arguments, words):
    assert_usage_error(culvert(*arguments), *words)


def test_a_gateway_without_a_policy_says_which_to_choose(world):
    result = culvert("gateway", "--listen", "127.0.0.1:0", "--data", world.path("data"))
    assert_usage_error(result, "--auth-grant", "--auth-deny")


@pytest.mark.parametrize("url, words", [
    ("ws:/host", ["ws:/host", "//"]),
    ("http://host", ["http://host", "ws://"]),
    ("host:8080", ["host:8080", "ws://"]),
    ("ws://", ["ws://"]),
    ("ws://host:99999", ["99999"]),
    ("ws://host:port", ["ws://host:port"]),
    ("ws://user:pass@host", ["host"]),
    ("wss://[::1", ["[::1"]),
    ("", ["--url"]),
])
def test_a_malformed_url_is_named(url, words):
    assert_usage_error(culvert("agent", "--url", url, "--name", "a"), *words)


@pytest.mark.parametrize("rule", [
    "22", "2222:agent2", "2222:agent2:host", "2222:agent2:host:0", "2222:agent2:host:70000",
    "70000:agent2:host:22", "x:agent2:host:22", "2222::host:22", "2222:agent2::22",
    "2222:a b:host:22", "[::1:2222:agent2:host:22", "2222:agent2:[::1:22", ":2222:agent2:",
    "-1:agent2:host:22", "2222:agent2:host:22:33:44", ""])
def test_a_malformed_rule_is_named(rule):
    result = culvert("agent", "--url", "ws://localhost:1", "--name", "a", rule)
    assert_usage_error(result, rule)


@pytest.mark.parametrize("rule", ["", "host", "host:0", "host:70000", "10.0.0.0/33:80",
                                  "10.0.0.0/8:90-80", "host:x", "[::1:80", "10.0.0.0/x:80"])
def test_a_malformed_allow_is_named(rule):
    result = culvert("agent", "--url", "ws://localhost:1", "--name", "a", "--allow", rule)
    assert_usage_error(result, "--allow", rule)


def test_options_with_one_dash_and_equals_signs(world):
    gateway = world.bare_gateway("-listen=127.0.0.1:0", "-authgrant", "-open")
    server = world.echo_server()
    world.agent(gateway, "agent2")
    agent = world.bare_agent("agent1", f"-url={gateway.url()}", "-name=agent1",
                             f"0:agent2:127.0.0.1:{server.port}")
    agent.wait_registered()
    echo_once(agent.port())


def test_port_is_listen_on_all_addresses(world):
    port = free_port()
    gateway = world.bare_gateway(f"-port={port}", "-authdeny", "-open")
    assert gateway.port == port
    connect(port).close()


def test_listen_may_be_repeated(world):
    first, second = free_port(), free_port("::1")
    gateway = world.bare_gateway("--listen", f"127.0.0.1:{first}", "--listen", f"[::1]:{second}",
                                 "--auth-grant", "--open")
    gateway.wait_for(rf"^listening on 127\.0\.0\.1:{first}$", stream="out")
    gateway.wait_for(rf"^listening on \[::1\]:{second}$", stream="out")
    world.agent(gateway, "one", url=f"ws://127.0.0.1:{first}")
    world.agent(gateway, "two", url=f"ws://[::1]:{second}")


def test_a_gateway_whose_port_is_in_use(world):
    gateway = world.gateway()
    result = culvert("gateway", "--listen", f"127.0.0.1:{gateway.port}", "--auth-grant", "--open",
                     "--data", world.path("other"))
    assert result.returncode in (1, 4)
    assert f"127.0.0.1:{gateway.port}" in result.stderr
    assert "in use" in result.stderr


def test_an_open_gateway_says_so(world):
    world.gateway().wait_for(r"open.*key|key.*open|without a key", stream="err")
    closed = world.gateway(is_open=False)
    assert "--open" not in closed.output("err")


def test_an_insecure_agent_says_so(world):
    gateway = world.gateway(secure=True)
    agent = world.agent(gateway, "agent1", options=["--insecure"])
    agent.wait_for(r"insecure|not verified", stream="err")


def test_json_logs(world):
    gateway = world.gateway("--log-format", "json", "--log-level", "debug")
    world.agent(gateway, "agent1")
    gateway.stop()
    lines = gateway.output("err").strip().split("\n")
    assert lines
    for line in lines:
        assert isinstance(json.loads(line), dict)


def test_log_levels(world):
    quiet = world.gateway("--log-level", "error")
    chatty = world.gateway("--log-level", "debug")
    for gateway in (quiet, chatty):
        world.agent(gateway, "agent1")
        gateway.stop()
    assert quiet.output("err").count("\n") < chatty.output("err").count("\n")


@pytest.mark.parametrize("option", ["--tls-cert", "--tls-key"])
def test_a_missing_certificate_is_named(world, option):
    certificate = world.authority.issue(world.unique("cli"))
    files = {"--tls-cert": certificate.certificate, "--tls-key": certificate.key}
    files[option] = world.path("missing.pem")
    result = culvert("gateway", "--listen", "127.0.0.1:0", "--auth-grant", "--open", "--data",
                     world.path("data"), *(word for pair in files.items() for word in pair))
    assert result.returncode in (1, 2)
    assert "listening" not in result.stdout
    assert "missing.pem" in result.stderr


def test_a_certificate_that_is_none_is_named(world):
    certificate = world.authority.issue(world.unique("cli"))
    result = culvert("gateway", "--listen", "127.0.0.1:0", "--auth-grant", "--open", "--data",
                     world.path("data"), "--tls-cert", world.write("junk.pem", "junk\n"),
                     "--tls-key", certificate.key)
    assert result.returncode in (1, 2)
    assert "junk.pem" in result.stderr


def test_a_certificate_and_a_key_that_do_not_match(world):
    one, other = (world.authority.issue(world.unique("cli")) for _ in range(2))
    result = culvert("gateway", "--listen", "127.0.0.1:0", "--auth-grant", "--open", "--data",
                     world.path("data"), "--tls-cert", one.certificate, "--tls-key", other.key)
    assert result.returncode in (1, 2)
    assert os.path.basename(other.key) in result.stderr


@pytest.mark.parametrize("options,said", [
    (["--auth-grant", "--auth-deny"], "--auth-grant and --auth-deny contradict each other"),
    (["--auth-grant", "--lua-workers", "2"], "need --auth-lua as well"),
    (["--auth-grant", "--auth-timeout", "2s"], "need --auth-lua as well"),
])
def test_options_of_the_gateway_that_do_not_fit(world, options, said):
    result = culvert("gateway", "--listen", "127.0.0.1:0", "--open", "--data", world.path("data"),
                     *options)
    assert result.returncode == 2
    assert said in result.stderr


def test_a_webhook_secret_is_called_so(world):
    empty = world.write("secret", "")
    result = culvert("gateway", "--listen", "127.0.0.1:0", "--auth-grant", "--open",
                     "--events-webhook", "http://127.0.0.1:1/", "--events-webhook-secret-file",
                     empty)
    assert result.returncode == 1
    assert f"--events-webhook-secret-file: {empty} holds no secret: a secret has" in result.stderr
    assert "key" not in result.stderr.replace("--tls-key", "")


def test_a_private_key_that_others_may_read_is_refused(world):
    certificate = world.authority.issue(world.unique("cli"))
    os.chmod(certificate.key, 0o644)
    result = culvert("gateway", "--listen", "127.0.0.1:0", "--auth-grant", "--open", "--data",
                     world.path("data"), "--tls-cert", certificate.certificate,
                     "--tls-key", certificate.key)
    assert result.returncode in (1, 2)
    assert os.path.basename(certificate.key) in result.stderr
    assert "600" in result.stderr


def test_a_key_file_that_others_may_read_is_refused(world):
    path = world.write("agent.key", "cvk_x\n", mode=0o644)
    result = culvert("agent", "--url", "ws://localhost:1", "--name", "a", "--key-file", path)
    assert result.returncode in (1, 2)
    assert "agent.key" in result.stderr
    assert "600" in result.stderr


def test_a_missing_key_file_is_named(world):
    result = culvert("agent", "--url", "ws://localhost:1", "--name", "a", "--key-file",
                     world.path("nowhere"))
    assert result.returncode in (1, 2)
    assert "nowhere" in result.stderr


def test_a_key_does_not_cross_a_plain_connection():
    result = culvert("agent", "--url", "ws://192.0.2.7:1", "--name", "a", "--key", "cvk_secret")
    assert result.returncode in (1, 2)
    assert "wss" in result.stderr
    assert "cvk_secret" not in result.stderr


def test_a_missing_ca_file_is_named(world):
    result = culvert("agent", "--url", "wss://localhost:1", "--name", "a", "--ca",
                     world.path("nowhere.pem"))
    assert result.returncode in (1, 2)
    assert "nowhere.pem" in result.stderr


GATEWAY = ("gateway", "--listen", "127.0.0.1:0", "--open", "--data", "{data}")
AGENT = ("agent", "--url", "wss://localhost:1", "--name", "a")
WEBHOOK = ("--auth-grant", "--events-webhook", "http://127.0.0.1:1/")


@pytest.mark.once
@pytest.mark.parametrize("words", [
    (*GATEWAY, "--auth-grant", "--tls-cert", "{missing}", "--tls-key", "{missing}"),
    (*GATEWAY, "--acl", "{missing}"),
    (*GATEWAY, "--auth-lua", "{missing}"),
    (*GATEWAY, *WEBHOOK, "--events-webhook-secret-file", "{missing}"),
    (*AGENT, "--ca", "{missing}"),
    (*AGENT, "--key-file", "{missing}"),
    (*AGENT, "--proxy", "http://localhost:1", "--proxy-user-file", "{missing}"),
    (*AGENT, "--forwards", "{missing}"),
    (*AGENT, "--api", "127.0.0.1:0", "--api-token-file", "{missing}"),
    ("acl", "check", "{missing}"),
    ("acl", "test", "{missing}", "a", "b", "h", "1"),
    ("key", "list", "--data", "{missing}"),
    ("forward", "list", "--api", "http://127.0.0.1:1", "--token-file", "{missing}"),
], ids=lambda words: " ".join(words[:1] + words[-2:-1]))
def test_a_missing_file_is_a_failure_and_no_wrong_usage(world, words):
    places = {"missing": world.path("missing"), "data": world.path("data")}
    result = culvert(*(word.format(**places) for word in words))
    assert result.returncode == 1
    assert places["missing"] in result.stderr


# ---- core dumps ----

def core_limits(process):
    with open(f"/proc/{process.pid}/limits", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("Max core file size"))
    return line.split()[4:6]


def test_all_descriptors_that_may_be_are_used(world):
    """culvert raises its limit of open files: each session needs two descriptors."""
    low = ["bash", "-c", "ulimit -Sn 64 && exec \"$@\"", "bash"]
    gateway = world.gateway(wrapper=low)
    with open(f"/proc/{gateway.pid}/limits", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("Max open files"))
    soft, hard = line.split()[3:5]
    assert soft == hard == str(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


@pytest.mark.parametrize("kind", ["gateway", "agent"])
def test_a_process_that_dies_leaves_no_core(world, kind):
    """Also where the shell would have one, in its directory."""
    allow = ["bash", "-c", "ulimit -c $(ulimit -H -c) && exec \"$@\"", "bash"]
    place = world.path("cores")
    os.mkdir(place)
    gateway = world.gateway(wrapper=allow, cwd=place)
    agent = world.agent(gateway, "a", wrapper=allow, cwd=place)
    process = gateway if kind == "gateway" else agent
    assert core_limits(process) in (["1", "1"], ["0", "0"])
    process.was_killed = True
    os.kill(process.pid, signal.SIGABRT)
    assert process.wait() == -signal.SIGABRT
    assert os.listdir(place) == []


def test_core_dumps_can_be_allowed(world):
    gateway = world.gateway(env=environment(CULVERT_CORE_DUMPS="1"))
    assert core_limits(gateway) == [
        "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
        for limit in resource.getrlimit(resource.RLIMIT_CORE)]
    refused = world.gateway(env=environment(CULVERT_CORE_DUMPS="0"))
    assert core_limits(refused) in (["1", "1"], ["0", "0"])
