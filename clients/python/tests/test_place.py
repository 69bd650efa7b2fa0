"""Where the client looks for an agent and its token."""

import os
import tempfile
import unittest
from unittest import mock

import culvert
from culvert import place


class Parse(unittest.TestCase):
    def check(self, url, text, is_here):
        found = place.parse(url)
        self.assertEqual(str(found), text)
        self.assertEqual(found.is_here(), is_here, url)

    def test_urls(self):
        self.check("http://127.0.0.1:7070", "http://127.0.0.1:7070", True)
        self.check("http://127.9.9.9:7070/", "http://127.9.9.9:7070", True)
        self.check("localhost:7070", "http://localhost:7070", True)
        self.check("http://LocalHost", "http://localhost:80", True)
        self.check("http://[::1]:7070", "http://[::1]:7070", True)
        self.check("https://api.example/agent1/", "https://api.example:443/agent1", False)
        self.check("http://192.0.2.1:7070", "http://192.0.2.1:7070", False)
        self.check("http://127.0.0.1.example:7070", "http://127.0.0.1.example:7070", False)
        self.check("http://[2001:db8::1]:7070", "http://[2001:db8::1]:7070", False)
        self.check("unix:/run/api.sock", "unix:/run/api.sock", True)
        self.check("unix:api.sock", "unix:api.sock", True)

    def test_what_is_no_url(self):
        for url in ("", "unix:", "ftp://127.0.0.1:7070", "http://", "http://127.0.0.1:70700",
                    "http://127.0.0.1:x", "http://127.0.0.1:7070@api.example",
                    "http://user@127.0.0.1:7070", "http://127.0.0.1:7070\\@api.example",
                    "http://127.0.0.1:7070?x", "http://127.0.0.1:7070#x"):
            with self.assertRaises(ValueError, msg=url):
                place.parse(url)


class Find(unittest.TestCase):
    def setUp(self):
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        patch = mock.patch.dict(os.environ, {"XDG_STATE_HOME": home.name})
        patch.start()
        self.addCleanup(patch.stop)
        for name in ("CULVERT_API", "CULVERT_TOKEN"):
            os.environ.pop(name, None)
        self.directory = os.path.join(home.name, "culvert")
        os.mkdir(self.directory)
        self.write("api-url", "http://127.0.0.1:7171\n")
        self.write("api-token", "of-the-state-directory\n")

    def write(self, name, content, mode=0o600):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(path, mode)

    def test_state_directory(self):
        found = place.find()
        self.assertEqual(str(found), "http://127.0.0.1:7171")
        self.assertEqual(place.find_token(found), "of-the-state-directory")
        self.assertEqual(culvert.Agent().url, "http://127.0.0.1:7171")

    def test_environment_comes_first(self):
        os.environ["CULVERT_API"] = "unix:/run/api.sock"
        self.assertEqual(str(place.find()), "unix:/run/api.sock")
        self.assertEqual(place.find_token(place.find()), "of-the-state-directory")
        os.environ["CULVERT_TOKEN"] = "of-the-environment"
        self.assertEqual(place.find_token(place.find()), "of-the-environment")
        os.environ["CULVERT_API"] = os.environ["CULVERT_TOKEN"] = ""
        self.assertEqual(str(place.find()), "http://127.0.0.1:7171")
        self.assertEqual(place.find_token(place.find()), "of-the-state-directory")

    def test_the_token_stays_on_this_machine(self):
        with self.assertRaisesRegex(culvert.ConnectionFailed, "not on this machine"):
            culvert.Agent("http://192.0.2.1:7070")
        culvert.Agent("http://192.0.2.1:7070", "given")

    def test_a_token_that_others_may_read(self):
        self.write("api-token", "of-the-state-directory\n", 0o644)
        with self.assertRaisesRegex(culvert.ConnectionFailed, "0600"):
            culvert.Agent()

    def test_nothing_is_there(self):
        os.remove(os.path.join(self.directory, "api-token"))
        with self.assertRaisesRegex(culvert.ConnectionFailed, "api-token: No such file"):
            culvert.Agent()
        os.remove(os.path.join(self.directory, "api-url"))
        with self.assertRaisesRegex(culvert.ConnectionFailed, "no agent of yours") as caught:
            culvert.Agent()
        self.assertIsNone(caught.exception.status)

    def test_which_directory(self):
        self.assertEqual(place.state_directory(), self.directory)
        with mock.patch.dict(os.environ, {"HOME": "/home/one"}):
            for unset in ("", "relative"):
                os.environ["XDG_STATE_HOME"] = unset
                with mock.patch("os.geteuid", return_value=1000):
                    self.assertEqual(place.state_directory(), "/home/one/.local/state/culvert")
                with mock.patch("os.geteuid", return_value=0):
                    self.assertEqual(place.state_directory(), "/var/lib/culvert")

    def test_a_token_that_cannot_be(self):
        for token in ("", "a\r\nb: c", "ä", "a\x00"):
            with self.assertRaises(ValueError):
                culvert.Agent("http://127.0.0.1:7070", token)


if __name__ == "__main__":
    unittest.main()
