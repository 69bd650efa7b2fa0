"""An access list, checked and asked on the command line."""

import os

import pytest

from culvert.world import culvert

RULES = """\
# who may reach whom
@ops = alice-*, bob
allow @ops -> db-?  10.0.0.0/8  5432,6000-6010
allow *    -> web   localhost   80,443         key s3cret
allow -    -> web   *.example   *
deny  eve  -> *     *           *
"""


@pytest.fixture
def rules(world):
    return world.write("policy.acl", RULES)


def ask(rules, *question):
    """The exit code and what was printed, the file's folder left out."""
    result = culvert("acl", "test", rules, *question)
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1
    return result.returncode, result.stdout.strip().replace(os.path.dirname(rules) + "/", "")


def test_check_counts_the_rules(rules):
    result = culvert("acl", "check", rules)
    assert (result.returncode, result.stdout, result.stderr) == (0, "4 rules\n", "")


@pytest.mark.parametrize("line,what", [
    ("alow a -> b h 80", "a line is either"),
    ("allow a -> b 10.0.0.1/8 80", "10.0.0.0/8"),
    ("allow a -> @dbs h 80", "@dbs"),
    ("allow a -> b h http", "PORTS"),
])
def test_check_names_the_line_that_is_wrong(world, line, what):
    path = world.write("policy.acl", f"{RULES}\n{line}\nallow a -> b h 80\n")
    result = culvert("acl", "check", path)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"{path}:8: ")
    assert what in result.stderr


def test_check_names_every_line_that_is_wrong(world):
    path = world.write("policy.acl", "alow a -> b h 80\nallow a -> b h 80\nallow a -> @dbs h 80\n"
                                     "allow a -> b h http\nallow @web -> b h 80\n")
    result = culvert("acl", "check", path)
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == [f"{path}:{line}" for line in
                                                            (1, 4, 3, 5)]
    assert lines[-1] == f"culvert acl check: 4 lines of {path} are wrong"
    path = world.write("policy.acl", "allow\n")
    assert "culvert acl check: 1 line of" in culvert("acl", "check", path).stderr


@pytest.mark.parametrize("line", [
    "allow a -> b h 80 key s3cret-1 more", "allow a -> b h 80 s3cret-1",
    "allow a -> b h key s3cret-1", "allow a -> b key s3cret-1 80", "allow key s3cret-1 -> b h 80",
])
def test_no_complaint_shows_a_key(world, line):
    path = world.write("policy.acl", line)
    for result in (culvert("acl", "check", path), culvert("acl", "test", path, "a", "b", "h", "1")):
        assert result.returncode == 1
        assert result.stderr.startswith(f"{path}:1: ")
        assert "s3cret" not in result.stdout + result.stderr


def test_a_file_that_cannot_be_read(world):
    for path in (world.path("nowhere"), world.directory):
        result = culvert("acl", "check", path)
        assert result.returncode == 1
        assert result.stderr.startswith(f"culvert acl check: cannot read {path}: ")
    pipe = world.path("pipe")
    os.mkfifo(pipe)
    result = culvert("acl", "check", pipe)
    assert result.returncode == 1
    assert "not a regular file" in result.stderr


def test_what_is_allowed(rules):
    assert ask(rules, "alice-2", "db-1", "10.20.30.40", "6003") == (
        0, "allow  policy.acl:3: allow @ops -> db-? 10.0.0.0/8 5432,6000-6010")
    assert ask(rules, "-", "web", "WWW.Example", "9") == (
        0, "allow  policy.acl:5: allow - -> web *.example *")


def test_what_is_not(rules):
    assert ask(rules, "eve", "db-1", "10.20.30.40", "5432") == (
        3, "deny   policy.acl:6: deny eve -> * * *")
    for question in (("bob", "db-1", "db.example", "5432"), ("bob", "db-1", "11.0.0.1", "5432"),
                     ("bob", "db-12", "10.0.0.1", "5432"), ("carol", "db-1", "10.0.0.1", "5432"),
                     ("bob", "db-1", "10.0.0.1", "5433"), ("bob", "web", "www.example", "80")):
        assert ask(rules, *question) == (3, "deny   policy.acl: no rule matches")


def test_the_key_decides_and_is_hidden(rules):
    question = ("bob", "web", "localhost", "443")
    assert ask(rules, *question, "--key", "s3cret") == (
        0, "allow  policy.acl:4: allow * -> web localhost 80,443 key (hidden)")
    assert ask(rules, "--key=s3cret2", *question) == (3, "deny   policy.acl: no rule matches")
    assert ask(rules, *question) == (3, "deny   policy.acl: no rule matches")


@pytest.mark.parametrize("words", [
    (), ("chek",), ("check",), ("check", "a", "b"), ("test", "f", "a", "b", "h"),
    ("test", "f", "a", "b", "h", "0"), ("test", "f", "a", "-", "h", "80"),
    ("test", "f", "a", "b", "h", "80", "more"), ("check", "f", "--key", "k"),
])
def test_wrong_words(words):
    result = culvert("acl", *words)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("culvert acl")


def test_help():
    for words in (("acl", "--help"), ("acl", "test", "--help"), ("help", "acl", "check")):
        result = culvert(*words)
        assert result.returncode == 0
        assert "Usage: culvert acl" in result.stdout
