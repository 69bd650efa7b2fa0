"""Files with secrets, as service managers and packages hand them over: who else may read them."""

import os
import shutil
import signal
import struct
import tempfile

import pytest

from culvert.peers import echo_once, expect_session_reset
from culvert.process import run
from culvert.users import can_be_others
from culvert.world import BINARY, Agent, culvert, environment

USER = 64001
GROUP = 64002
OTHER = 64003

pytestmark = pytest.mark.skipif(not can_be_others(), reason="needs to run as other users")


@pytest.fixture
def place():
    """A directory that a service's user can reach, with the program in it."""
    directory = tempfile.mkdtemp(prefix="culvert-secrets-", dir="/tmp")
    os.chmod(directory, 0o755)
    shutil.copy(BINARY, os.path.join(directory, "culvert"))
    yield directory
    shutil.rmtree(directory)


def secret(place, content, owner=0, group=0, mode=0o600):
    path = os.path.join(place, "secret")
    with open(path, "w", encoding="utf-8") as file:
        file.write(content)
    os.chown(path, owner, group)
    os.chmod(path, mode)
    return path


def let_in(path, user, permissions=4):
    """Gives a user an entry in the file's ACL, as `setfacl -m u:USER:r` does."""
    entries = [(1, 6, 0xffffffff), (2, permissions, user), (4, 0, 0xffffffff),
               (0x10, permissions, 0xffffffff), (0x20, 0, 0xffffffff)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", value)
    except OSError as error:
        pytest.skip(f"no ACLs in {os.path.dirname(path)}: {error}")


def as_service(place, *groups):
    """What starts the program as the service's user, in these groups besides its own."""
    groups = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
    return ["setpriv", "--reuid", str(USER), "--regid", str(USER), *groups,
            os.path.join(place, "culvert")]


def register(world, place, path, *groups):
    """An agent of the service's user whose key is in this file."""
    gateway = world.gateway(is_open=False)
    with open(path, "w", encoding="utf-8") as file:
        file.write(gateway.add_key("service") + "\n")
    agent = world.adopt(Agent("service", [*as_service(place, *groups), "agent", "--url",
                                          gateway.url(), "--name", "service", "--key-file", path],
                              env=environment(HOME=place)))
    agent.wait_registered()


def test_a_systemd_credential_is_taken(world, place):
    path = secret(place, "")
    os.chmod(path, 0o440)
    let_in(path, USER)
    register(world, place, path)


def test_a_file_of_a_group_of_ours_is_taken(world, place):
    register(world, place, secret(place, "", group=GROUP, mode=0o640), GROUP)


def test_a_private_key_of_a_group_of_ours_is_taken(world, place):
    certificate = world.authority.issue("shared")
    public = shutil.copy(certificate.certificate, os.path.join(place, "certificate"))
    os.chmod(public, 0o644)
    with open(certificate.key, encoding="utf-8") as file:
        path = secret(place, file.read(), group=GROUP, mode=0o640)
    gateway = world.process("gateway", [
        *as_service(place, GROUP), "gateway", "--listen", "127.0.0.1:0", "--auth-grant", "--open",
        "--tls-cert", public, "--tls-key", path], env=environment(HOME=place))
    gateway.wait_for("^listening on ", stream="out")


def refused(command, path):
    result = run([*command, "agent", "--url", "ws://localhost:1", "--name", "a", "--key-file",
                  path], env=environment())
    assert result.returncode == 1
    assert path in result.stderr
    return result.stderr


def test_a_file_that_another_user_may_read_is_refused(place):
    path = secret(place, "cvk_x\n", owner=USER)
    let_in(path, OTHER)
    assert f"lets user {OTHER} read it" in refused(as_service(place), path)


def test_a_file_of_another_user_is_refused(place):
    path = secret(place, "cvk_x\n", owner=OTHER, group=GROUP, mode=0o640)
    assert f"belongs to user {OTHER}" in refused(as_service(place, GROUP), path)


@pytest.mark.parametrize("mode", [0o640, 0o660, 0o644])
def test_a_file_that_others_may_read_or_write_is_refused(place, mode):
    path = secret(place, "cvk_x\n", group=GROUP, mode=mode)
    said = refused([BINARY], path)
    assert "0600" in said


def test_the_token_of_an_api_is_judged_the_same(place):
    path = secret(place, "token\n", group=GROUP, mode=0o640)
    said = culvert("forward", "list", "--api", "127.0.0.1:1", "--token-file", path)
    assert f"group {GROUP} may read it" in said.stderr
    result = run([*as_service(place, GROUP), "forward", "list", "--api", "127.0.0.1:1",
                  "--token-file", path], env=environment(HOME=place))
    assert "does not answer" in result.stderr


# ---- access lists and scripts: whoever can write them decides who may reach what ----

KEYED = "allow * -> * * * key s3cret\n"


def no_gateway(place, *options):
    """What a gateway says that does not start."""
    data = [] if "--data" in options else ["--data", os.path.join(place, "data")]
    result = culvert("gateway", "--listen", "127.0.0.1:0", *data, *options)
    assert result.returncode == 1
    return result.stderr


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_an_access_list_with_keys_that_others_may_write_is_refused(world, place, mode):
    path = secret(place, KEYED, group=GROUP, mode=mode)
    said = no_gateway(place, "--open", "--acl", path)
    assert f"may write it (mode {mode:04o}): run chmod go-w {path}" in said
    os.chmod(path, 0o600)
    world.gateway("--acl", path, policy=None)


def test_an_access_list_of_another_user_is_refused(place):
    path = secret(place, KEYED, owner=OTHER)
    said = no_gateway(place, "--open", "--acl", path)
    assert f"it belongs to user {OTHER}" in said
    assert f"run chown 0 {path}" in said


def test_an_access_list_that_becomes_writable_keeps_the_old_rules(world, place):
    """Somebody who may write the list adds a rule for himself; an innocent one goes on."""
    server = world.echo_server()
    path = secret(place, "allow near -> far * *\ndeny * -> * * * key s3cret\n")
    gateway = world.gateway("--acl", path, policy=None)
    world.agent(gateway, "far")
    near = world.agent(gateway, "near", f"0:far:127.0.0.1:{server.port}")
    intruder = world.agent(gateway, "intruder", f"0:far:127.0.0.1:{server.port}")
    echo_once(near.port())
    os.chmod(path, 0o666)
    gateway.wait_for(r"the policy stays as it was: .*\(mode 0666\): run chmod go-w", stream="err")
    run(["setpriv", "--reuid", str(OTHER), "--regid", str(OTHER), "--clear-groups", "sh", "-c",
         f"echo 'allow intruder -> far * *' >> {path}"])
    with open(path, encoding="utf-8") as file:
        assert "intruder" in file.read()
    since = gateway.mark()
    gateway.signal(signal.SIGHUP)
    gateway.wait_for("the policy stays as it was", since=since, stream="err")
    echo_once(near.port())
    expect_session_reset(intruder.port())


def test_an_access_list_with_keys_that_others_may_read_is_warned_of(world, place):
    path = secret(place, KEYED, mode=0o644)
    gateway = world.gateway("--acl", path, policy=None)
    gateway.wait_for(rf"WARNING .*{path} has keys in it, but all users may read it \(mode 0644\)",
                     stream="err")
    os.chmod(path, 0o600)
    quiet = world.gateway("--acl", path, policy=None)
    quiet.stop()
    assert "has keys in it" not in quiet.output()


def test_an_access_list_without_keys_may_be_read_and_is_warned_of_if_written(world, place):
    path = secret(place, "allow * -> * * *\n", group=GROUP, mode=0o664)
    gateway = world.gateway("--acl", path, policy=None)
    gateway.wait_for(rf"WARNING .*group {GROUP} may write it \(mode 0664\)", stream="err")
    os.chmod(path, 0o644)
    quiet = world.gateway("--acl", path, policy=None)
    quiet.stop()
    assert "may write" not in quiet.output()


def test_a_script_that_all_may_write_is_refused(world, place):
    path = secret(place, "function connect() return true end\n", group=GROUP, mode=0o666)
    said = no_gateway(place, "--open", "--auth-lua", path)
    assert "all users may write it: run chmod go-w" in said
    os.chmod(path, 0o660)
    gateway = world.gateway("--auth-lua", path, policy=None)
    gateway.wait_for(rf"WARNING .*group {GROUP} may write it \(mode 0660\)", stream="err")


# ---- the store ----

def test_a_store_of_another_user_is_refused(place):
    """By the gateway and by `culvert key`, as root and as a service; its own user may use it."""
    data = os.path.join(place, "store")
    assert culvert("key", "add", "a", "--data", data).returncode == 0
    for name in os.listdir(data):
        os.chown(os.path.join(data, name), OTHER, OTHER)
    store = os.path.join(data, "culvert.db")
    owner = f"the store {store} belongs to user {OTHER}"
    assert owner in no_gateway(place, "--auth-grant", "--data", data)
    for command in (["add", "b"], ["rotate", "a"], ["revoke", "a"], ["list"]):
        result = culvert("key", *command, "--data", data)
        assert result.returncode == 1
        assert owner in result.stderr
        assert f"run culvert as user {OTHER}, or chown 0 {store}" in result.stderr
    os.chown(data, OTHER, OTHER)
    result = culvert("key", "list", "--data", data)
    assert f"it belongs to user {OTHER}" in result.stderr
    assert f"run it as user {OTHER}" in result.stderr
    assert "chown" not in result.stderr  # which would lock the service out
    own = run(["setpriv", "--reuid", str(OTHER), "--regid", str(OTHER), "--clear-groups",
               os.path.join(place, "culvert"), "key", "list", "--data", data], env=environment())
    assert own.returncode == 0, own.stderr
    assert "a" in own.stdout


def test_a_store_whose_directory_others_may_write_is_refused(place):
    data = os.path.join(place, "store")
    assert culvert("key", "add", "a", "--data", data).returncode == 0
    os.chmod(data, 0o1777)
    assert f"run chmod go-w {data}" in culvert("key", "list", "--data", data).stderr
    assert f"run chmod go-w {data}" in no_gateway(place, "--auth-grant", "--data", data)
    os.chmod(data, 0o755)
    assert culvert("key", "list", "--data", data).returncode == 0
