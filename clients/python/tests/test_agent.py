"""What the client asks an agent, and what it makes of the answers."""

import os
import socket
import tempfile
import threading
import unittest
import warnings
from unittest import mock

import culvert

from tests.fake_agent import TOKEN, FakeAgent, closed_port, forward, session, status


class Case(unittest.TestCase):
    def setUp(self):
        self.fake = FakeAgent()
        self.addCleanup(self.fake.close)
        self.agent = culvert.Agent(self.fake.url, token=TOKEN, timeout=5)
        self.addCleanup(self.agent.close)

    def connect(self, **fields):
        return self.agent.connect(**{"remotegw": "gw1", "addr": "192.168.10.12", "port": 22,
                                     **fields})


class Connect(Case):
    def test_what_is_sent(self):
        self.connect(localport=2022)
        method, path, headers, body = self.fake.requests[0]
        self.assertEqual((method, path), ("POST", "/v1/forwards"))
        self.assertEqual(headers["Authorization"], f"Bearer {TOKEN}")
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertEqual(headers["Host"], self.fake.url.removeprefix("http://"))
        self.assertEqual(body, {"local": 2022, "gateway": "gw1", "ip": "192.168.10.12",
                                "remote": 22})
        self.connect(bind="*", key="a-key")
        self.assertEqual(self.fake.requests[1][3],
                         {"local": 0, "gateway": "gw1", "ip": "192.168.10.12", "remote": 22,
                          "bind": "*", "key": "a-key"})

    def test_what_comes_back(self):
        made = self.connect(key="a-key")
        self.assertEqual(made.id, 1)
        self.assertEqual(made.localport, 40001)
        self.assertEqual((made.bind, made.remotegw, made.addr, made.port),
                         ("127.0.0.1", "gw1", "192.168.10.12", 22))
        self.assertTrue(made.has_key and made.listening)
        self.assertEqual(made.source, "api")
        self.assertEqual(made.address, ("127.0.0.1", 40001))
        self.assertEqual(repr(made),
                         "<culvert.Forward 1: 127.0.0.1:40001 -> gw1:192.168.10.12:22>")

    def test_address_to_connect_to(self):
        for bind, host in (("*", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1"),
                           ("localhost", "localhost"), ("192.0.2.7", "192.0.2.7")):
            self.assertEqual(self.connect(bind=bind).address[0], host)

    def test_refresh(self):
        made = self.connect()
        self.fake.forwards[1].update(open=1, total=3, sent=1234, received=5678)
        self.assertIs(made.refresh(), made)
        self.assertEqual((made.open, made.total, made.sent, made.received), (1, 3, 1234, 5678))

    def test_close_removes_it_once_or_twice(self):
        made = self.connect()
        made.close()
        self.assertEqual(self.fake.forwards, {})
        made.close()
        with self.assertRaises(culvert.NotFound):
            made.refresh()

    def test_a_block_removes_it(self):
        with self.connect() as made:
            self.assertIn(made.id, self.fake.forwards)
        self.assertEqual(self.fake.forwards, {})

    def test_a_block_that_fails_removes_it_and_says_why(self):
        with self.assertRaisesRegex(ZeroDivisionError, "of the block"):
            with self.connect():
                raise ZeroDivisionError("of the block")
        self.assertEqual(self.fake.forwards, {})
        with self.assertRaisesRegex(ZeroDivisionError, "of the block"):
            with self.connect():
                self.fake.answers = [(500, {})]
                raise ZeroDivisionError("of the block")
        with self.assertRaises(culvert.Error):
            with self.connect():
                self.fake.answers = [(500, {})]

    def test_the_default_agent(self):
        with mock.patch.dict(os.environ, {"CULVERT_API": self.fake.url, "CULVERT_TOKEN": TOKEN}):
            with culvert.connect(remotegw="gw1", addr="192.168.10.12", port=22, localport=2022):
                self.assertEqual(self.fake.forwards[1]["local"], 2022)
        self.assertEqual(self.fake.forwards, {})


class Lists(Case):
    def test_forwards(self):
        self.assertEqual(self.agent.forwards(), [])
        self.connect()
        self.connect(port=80)
        self.assertEqual([one.port for one in self.agent.forwards()], [22, 80])
        self.assertEqual(self.agent.forward(2).port, 80)
        with self.assertRaises(culvert.NotFound):
            self.agent.forward(3)
        self.agent.forwards()[0].close()
        self.assertEqual(list(self.fake.forwards), [2])

    def test_sessions(self):
        self.fake.sessions = {7: session(), 8: session(id=8, direction="in", forward=None)}
        first, second = self.agent.sessions()
        self.assertEqual(first, culvert.Session(
            id=7, direction="out", forward=1, agent="gw1", addr="192.168.10.12", port=22,
            client="127.0.0.1:53412", sent=10, received=20, seconds=3.5))
        self.assertIsNone(second.forward)
        self.agent.reset(first)
        self.assertEqual(list(self.fake.sessions), [8])
        self.agent.reset(first)

    def test_status(self):
        self.assertEqual(self.agent.status(), culvert.Status(
            name="agent1", version="0.1.0", gateway="wss://gw.example", connected=True,
            dialect="culvert.1", connected_seconds=12.5, uptime_seconds=33.0, forwards=2,
            sessions=1))

    def test_what_a_later_agent_tells_more_is_left_aside(self):
        self.fake.answers = [(200, status(more=1)), (200, {"forwards": [forward(more=1)]})]
        self.assertEqual(self.agent.status().name, "agent1")
        self.assertEqual(self.agent.forwards()[0].id, 1)


class Errors(Case):
    def check(self, answer, kind, detail, status_code=None, field=None):
        self.fake.answers = [answer]
        with self.assertRaises(culvert.Error) as caught:
            self.connect()
        self.assertIs(type(caught.exception), kind)
        self.assertIn(detail, caught.exception.detail)
        self.assertEqual(str(caught.exception), caught.exception.detail)
        self.assertEqual(caught.exception.status, status_code)
        self.assertEqual(caught.exception.field, field)

    def test_each_kind_carries_the_detail(self):
        problem = self.fake.problem
        self.check(problem(400, "no port", field="local"), culvert.BadRequest, "no port", 400,
                   "local")
        self.check(problem(401, "no token"), culvert.Unauthorized, "no token", 401)
        self.check(problem(403, "not own"), culvert.Unauthorized, "not own", 403)
        self.check(problem(404, "nothing"), culvert.NotFound, "nothing", 404)
        self.check(problem(409, "in use", field="local"), culvert.Conflict, "in use", 409, "local")
        self.check(problem(413, "too large"), culvert.BadRequest, "too large", 413)
        self.check(problem(503, "no memory"), culvert.Error, "no memory", 503)

    def test_problems_without_sense(self):
        for content in (b"", b"<html>", b"[]", b"{\"detail\": 7, \"field\": []}"):
            self.check((500, content), culvert.Error, "status 500", 500)
        self.check((302, b""), culvert.Error, "status 302", 302)

    def test_answers_without_sense(self):
        for content in (b"<html>", b"[]", b"7", b"{}", b"\xff", b"", b"{\"id\": {}}"):
            self.check((200, content), culvert.ConnectionFailed, "is it an agent's API?")
        for call in (self.agent.forwards, self.agent.sessions, self.agent.status):
            for content in ([], {}, {"forwards": 7, "sessions": 7}, {"forwards": [7],
                                                                    "sessions": [7]}):
                self.fake.answers = [(200, content)]
                with self.assertRaises(culvert.ConnectionFailed):
                    call()

    def test_a_wrong_token(self):
        with self.assertRaises(culvert.Unauthorized):
            culvert.Agent(self.fake.url, "wrong").status()

    def test_nobody_there(self):
        agent = culvert.Agent(f"http://127.0.0.1:{closed_port()}", TOKEN)
        with self.assertRaisesRegex(culvert.ConnectionFailed, "does not answer: Connection refused"):
            agent.status()

    def test_an_agent_that_does_not_answer(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            agent = culvert.Agent(f"127.0.0.1:{server.getsockname()[1]}", TOKEN, timeout=0.05)
            with self.assertRaisesRegex(culvert.ConnectionFailed, "it took too long"):
                agent.status()

    def test_an_agent_that_ends_in_the_middle(self):
        self.fake.answers = [None]
        with self.assertRaises(culvert.ConnectionFailed):
            self.agent.status()
        self.assertEqual(self.agent.status().name, "agent1")

    def test_an_answer_without_end(self):
        with mock.patch("culvert.transport._MOST_BYTES", 1000):
            self.fake.answers = [(200, b" " * 200000)]
            with self.assertRaisesRegex(culvert.ConnectionFailed, "too long"):
                self.agent.status()
        self.fake.answers = [(200, {"forwards": [forward()] * 2000})]
        self.assertEqual(len(self.agent.forwards()), 2000)

    def test_what_is_no_http(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            def say():
                with server.accept()[0] as connection:
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                    connection.recv(4096)

            thread = threading.Thread(target=say)
            thread.start()
            agent = culvert.Agent(f"http://127.0.0.1:{server.getsockname()[1]}", TOKEN, timeout=5)
            with self.assertRaises(culvert.ConnectionFailed):
                agent.status()
            agent.close()
            thread.join()


class Connections(Case):
    def test_one_serves_many_calls(self):
        for _ in range(5):
            self.agent.status()
        self.assertEqual(self.fake.connections, 1)
        self.agent.close()
        self.agent.status()
        self.assertEqual(self.fake.connections, 2)

    def test_one_that_the_agent_has_ended_is_replaced(self):
        self.fake.closes = True
        for _ in range(3):
            self.agent.status()
        self.assertEqual(self.fake.connections, 3)

    def test_one_that_ends_under_a_call_is_replaced_once(self):
        self.agent.status()
        self.fake.answers = [None]
        self.assertEqual(self.agent.status().name, "agent1")
        self.fake.answers = [None, None]
        with self.assertRaises(culvert.ConnectionFailed):
            self.agent.status()

    def test_nothing_is_added_twice(self):
        self.agent.status()
        self.fake.answers = [None]
        with self.assertRaises(culvert.ConnectionFailed):
            self.connect()
        self.assertEqual([one[0] for one in self.fake.requests], ["GET", "POST"])

    def test_threads_share_an_agent(self):
        failures = []

        def work():
            try:
                for _ in range(20):
                    with self.connect() as made:
                        assert made.refresh().port == 22
            except Exception as error:  # whatever it is, it fails the test
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.fake.forwards, {})

    def test_no_socket_is_left(self):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            culvert.Agent(self.fake.url, TOKEN).status()
            with culvert.Agent(self.fake.url, TOKEN) as agent:
                agent.status()
        self.assertEqual([str(one.message) for one in seen], [])

    def test_a_unix_socket(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "api.sock")
            with self.assertRaisesRegex(culvert.ConnectionFailed, "No such file"):
                culvert.Agent(f"unix:{path}", TOKEN).status()
            fake = FakeAgent(path)
            self.addCleanup(fake.close)
            with culvert.Agent(f"unix:{path}", TOKEN) as agent:
                self.assertEqual(agent.status().name, "agent1")
                self.assertEqual(fake.requests[0][2]["Host"], "localhost")
                self.assertEqual(agent.connect("gw1", "db", 5432).port, 5432)

    def test_no_proxy_sees_the_token(self):
        with mock.patch.dict(os.environ, {"http_proxy": f"http://127.0.0.1:{closed_port()}",
                                          "all_proxy": f"http://127.0.0.1:{closed_port()}"}):
            self.assertEqual(self.agent.status().name, "agent1")


if __name__ == "__main__":
    unittest.main()
