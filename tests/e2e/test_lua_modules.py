"""What a policy script may use: require("http") as gluahttp has it, require("json") as gopher-json
does, and of Lua's own libraries what touches nothing outside."""

import gzip
import http.server
import json
import textwrap
import threading

import pytest

from culvert.lua import Script
from culvert.peers import free_port

MEGABYTE = 1024 * 1024


class Web:
    """A web server that tells what it was asked."""

    def __init__(self, context=None):
        self.requests = []
        self.waiting = threading.Barrier(16)
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status=200, body=b"", **fields):
                self.send_response(status)
                for name, value in fields.items():
                    for one in value if isinstance(value, list) else [value]:
                        self.send_header(name.replace("_", "-"), one)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                web.requests.append((self.command, self.path, self.headers, body))
                path = self.path.partition("?")[0]
                parts = path.strip("/").split("/")
                if parts[0] == "status":
                    self.answer(int(parts[1]))
                elif parts[0] == "redirect":
                    left = int(parts[1])
                    self.answer(302, Location=f"/redirect/{left - 1}" if left else "/last")
                elif parts[0] == "across":
                    self.answer(302, Location=f"http://127.0.0.1:{web.port}/last")
                elif parts[0] == "away":
                    self.answer(302, Location="file:///etc/passwd")
                elif parts[0] == "cookies":
                    self.answer(Set_Cookie=["id=7; Path=/; HttpOnly", 'name="a b"', "bad", "x=1"])
                elif parts[0] == "large":
                    self.answer(body=b"x" * int(parts[1]))
                elif parts[0] == "bomb":
                    self.answer(body=gzip.compress(bytes(64 * MEGABYTE)), Content_Encoding="gzip")
                elif parts[0] == "fields":
                    self.answer(X_many="a", x_lower="b", X_Twice=["1", "2"])
                elif parts[0] == "too-many":
                    self.answer(**{f"X_{number}": "y" * 1000 for number in range(90)})
                elif parts[0] == "together":
                    web.waiting.wait(20)
                    self.answer(body=b"together")
                elif parts[0] == "silence":
                    web.ended.wait(30)
                else:
                    self.answer(body=json.dumps({
                        "method": self.command, "path": self.path, "body": body.decode(),
                        "headers": {name: value for name, value in self.headers.items()},
                    }).encode(), Content_Type="application/json")

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_REPORT = handle_any

            def log_message(self, *_):
                pass

        self.ended = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"http{'s' if context else ''}://localhost:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,),
                                        daemon=True)
        self._thread.start()

    def close(self):
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def web(world):
    return world.keep(Web())


def run(world, body, **variables):
    """Runs lines of Lua in a script's process; `show(value)` gives what this returns a list of, in
    the form of JSON."""
    script = world.keep(Script(textwrap.dedent("""\
        local http, json
        local function show(...)
            local values = {}
            for i = 1, select("#", ...) do values[i] = assert(json.encode((select(i, ...)))) end
            print("[" .. table.concat(values, ",") .. "]")
        end
        function connect(request)
            http, json = require("http"), require("json")
        """) + textwrap.dedent(body) + "\nreturn true\nend\n", **variables))
    assert script.loaded.get("loaded"), script.loaded
    answer = script.ask()
    assert answer.verdict == "allow", (answer.reason, answer.printed)
    return [json.loads(line) for line in answer.printed]


# ---- http ----


def test_get(world, web):
    (status, body, size, url, kind), = run(world, f"""
        local response, error = http.get("{web.url}/a/b?c=d#e")
        assert(error == nil, error)
        show(response.status_code, json.decode(response.body), response.body_size, response.url,
             response.headers["Content-Type"])
    """)
    assert status == 200
    assert body["method"] == "GET"
    assert body["path"] == "/a/b?c=d"
    assert body["headers"]["User-Agent"].startswith("culvert/")
    assert size == len(json.dumps(body))
    assert url == f"{web.url}/a/b?c=d"
    assert kind == "application/json"


@pytest.mark.parametrize("name", ["get", "post", "put", "patch", "delete"])
def test_methods(world, web, name):
    (body,), = run(world, f"""show(json.decode(http.{name}("{web.url}/").body))""")
    assert body["method"] == name.upper()
    assert ("Content-Length" in body["headers"]) == (name in ("post", "put", "patch"))
    assert "Content-Type" not in body["headers"]


def test_head(world, web):
    assert run(world, f"""
        local response = http.head("{web.url}/large/1000", {{body="not sent"}})
        show(response.status_code, response.body, response.headers["Content-Length"])
    """) == [[200, "", "1000"]]


def test_request_takes_any_method(world, web):
    first, second = run(world, f"""
        show(json.decode(http.request("report", "{web.url}/", {{query="x"}}).body).method)
        show(http.request("RE PORT", "{web.url}/"))
    """)
    assert first == ["REPORT"]
    assert second == [None, "this is no method: RE PORT"]


@pytest.mark.parametrize("name", ["get", "post", "put", "patch", "delete"])
def test_body(world, web, name):
    (body,), = run(world, f"""
        show(json.decode(http.{name}("{web.url}/", {{body="a=b"}}).body))
    """)
    assert body["method"] == name.upper()
    assert body["body"] == "a=b"
    assert "Content-Type" not in body["headers"]
    assert "Expect" not in body["headers"]


def test_form(world, web):
    (plain,), (own,), (both,) = run(world, f"""
        local url = "{web.url}/"
        show(json.decode(http.post(url, {{form="a=b&c=d"}}).body))
        show(json.decode(http.post(url, {{form="a", headers={{["content-type"]="x/y"}}}}).body))
        show(json.decode(http.post(url, {{form="a", body="b"}}).body))
    """)
    assert plain["body"] == "a=b&c=d"
    assert plain["headers"]["Content-Type"] == "application/x-www-form-urlencoded"
    assert own["headers"]["content-type"] == "x/y"
    assert both["body"] == "b"


def test_query_replaces_that_of_the_url(world, web):
    assert run(world, f"""
        local function path(url, query)
            return json.decode(http.get("{web.url}" .. url, {{query=query}}).body).path
        end
        show(path("/a?b=c#d", "page=1"), path("/a", "b c"), path("/a?b", nil), path("/a?b", ""))
    """) == [["/a?page=1", "/a?b%20c", "/a?b", "/a"]]


def test_fields_of_the_request(world, web):
    (headers,), (error,), (other,) = run(world, f"""
        local function get(headers)
            return http.get("{web.url}/", {{headers=headers}})
        end
        show(json.decode(get({{["X-One"]="1", ["X-Number"]=2, ["X-Empty"]="",
                               ["User-Agent"]="me"}}).body).headers)
        show(select(2, get({{["X-Bad"]="a\\r\\nX-Evil: b"}})))
        show(select(2, get({{["X Bad"]="a"}})))
    """)
    assert headers["X-One"] == "1"
    assert headers["X-Number"] == "2"
    assert headers["X-Empty"] == ""
    assert headers["User-Agent"] == "me"
    assert error == "there are control characters in the field X-Bad"
    assert other == "this cannot be the name of a field: X Bad"
    assert len(web.requests) == 1


def test_cookies_of_the_request(world, web):
    (one,), (several,), (error,) = run(world, f"""
        local function get(cookies)
            return http.get("{web.url}/", {{cookies=cookies}})
        end
        show(json.decode(get({{session="12345"}}).body).headers.Cookie)
        show(json.decode(get({{a="1", b="x y", c="d;e\\n"}}).body).headers.Cookie)
        show(select(2, get({{["a;b"]="1"}})))
    """)
    assert one == "session=12345"
    assert set(several.split("; ")) == {"a=1", 'b="x y"', "c=de"}
    assert "cookie" in error


def test_auth(world, web):
    (login,), (error,) = run(world, f"""
        local url = "{web.url}/"
        show(json.decode(http.get(url, {{auth={{user="Aladdin", pass="open sesame"}}}}).body)
            .headers.Authorization)
        show(select(2, http.get(url, {{auth={{user="Aladdin"}}}})))
    """)
    assert login == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert error == "auth table must contain no nil user and pass fields"


def test_fields_and_cookies_of_the_answer(world, web):
    (headers,), (cookies,) = run(world, f"""
        show(http.get("{web.url}/fields").headers)
        show(http.get("{web.url}/cookies").cookies)
    """)
    assert headers["X-Many"] == "a"
    assert headers["X-Lower"] == "b"
    assert headers["X-Twice"] == "1"
    assert cookies == {"id": "7", "name": "a b", "x": "1"}


def test_redirects(world, web):
    (status, url), (error,), (other,) = run(world, f"""
        local response = http.get("{web.url}/redirect/5")
        show(response.status_code, response.url)
        show(select(2, http.get("{web.url}/redirect/20")))
        show(select(2, http.get("{web.url}/away")))
    """)
    assert (status, url) == (200, f"{web.url}/last")
    assert "redirects" in error
    assert "file" in other
    posted = len(web.requests)
    run(world, f"""http.post("{web.url}/redirect/0", {{body="x"}})""")
    assert [(method, path, body) for method, path, _, body in web.requests[posted:]] == [
        ("POST", "/redirect/0", b"x"), ("GET", "/last", b"")]


def test_no_login_goes_to_another_host(world, web):
    for options in ('auth={user="a", pass="b"}', 'headers={Authorization="c", Cookie="d"}'):
        assert run(world, f"""
            show(http.get("{web.url}/redirect/0", {{{options}}}).url,
                 http.get("{web.url}/across", {{{options}}}).url)
        """) == [[f"{web.url}/last", f"http://127.0.0.1:{web.port}/last"]]
    sent = [(path, "Authorization" in headers) for _, path, headers, _ in web.requests]
    assert sent == [("/redirect/0", True), ("/last", True), ("/across", True),
                    ("/last", False)] * 2
    assert "Cookie" not in web.requests[-1][2]


@pytest.mark.parametrize("timeout", ["0.2", '"200ms"', '"0.2s"', '"0m0.1s100ms"'])
def test_timeout(world, web, timeout):
    (response, error), = run(world, f"""
        show(http.get("{web.url}/silence", {{timeout={timeout}}}))
    """)
    assert response is None
    assert "timed out" in error


def test_a_timeout_that_is_none(world, web):
    (response, error), = run(world, f"""show(http.get("{web.url}/", {{timeout="soon"}}))""")
    assert response is None
    assert error == "this is no duration such as 1s or 250ms: soon"
    assert not web.requests


@pytest.mark.parametrize("url", ["", "/relative", "ftp://localhost/", "file:///etc/passwd",
                                 "http://", "http:///path", "gopher://localhost:70/x"])
def test_what_is_no_url_of_the_web(world, url):
    (response, error), = run(world, f"""show(http.get("{url}"))""")
    assert response is None
    assert error == "the URL does not begin with http:// or https:// and a host"


def test_a_url_with_control_characters(world, web):
    (response, error), = run(world, f"""show(http.get("{web.url}/\\r\\nHost: evil"))""")
    assert response is None and error
    assert not web.requests


def test_nobody_listens(world):
    (response, error), = run(world, f"""show(http.get("http://127.0.0.1:{free_port()}/"))""")
    assert response is None
    assert "connect" in error.lower()


@pytest.mark.parametrize("status", [204, 301, 404, 500])
def test_a_status_is_no_error(world, web, status):
    assert run(world, f"""
        local response, error = http.get("{web.url}/status/{status}")
        show(response.status_code, error == nil)
    """) == [[status, True]]


def test_answers_are_bounded(world, web):
    assert run(world, f"""
        show(http.get("{web.url}/large/{MEGABYTE}").body_size)
        show(select(2, http.get("{web.url}/large/{MEGABYTE + 1}")))
        show(select(2, http.get("{web.url}/bomb")))
        show(select(2, http.get("{web.url}/too-many")))
    """) == [[MEGABYTE], ["the answer is larger than 1 MiB"], ["the answer is larger than 1 MiB"],
             ["the answer's fields are larger than 64 KiB"]]


def test_batch(world, web):
    (bodies, errors), = run(world, f"""
        local url = "{web.url}"
        local responses, errors = http.request_batch({{
            {{"get", url .. "/one", {{query="page=1"}}}},
            {{"post", url .. "/two", {{body="x"}}}},
            {{"GET", url .. "/cookies"}},
            {{"POST", ""}},
            "no table",
        }})
        assert(responses[4] == nil and responses[5] == nil)
        assert(errors[1] == nil and errors[2] == nil and errors[3] == nil)
        local bodies = {{json.decode(responses[1].body), json.decode(responses[2].body),
                         responses[3].cookies.id}}
        show(bodies, {{errors[4], errors[5]}})
    """)
    assert bodies[0]["path"] == "/one?page=1"
    assert (bodies[1]["method"], bodies[1]["body"]) == ("POST", "x")
    assert bodies[2] == "7"
    assert errors == ["the URL does not begin with http:// or https:// and a host",
                      "Request must be a table"]


def test_batch_without_errors_gives_one_result(world, web):
    assert run(world, f"""
        show(select("#", http.request_batch({{{{"get", "{web.url}/"}}}})),
             select("#", http.request_batch({{}})))
    """) == [[1, 1]]


def test_a_batch_runs_side_by_side(world, web):
    """None is answered before all have come."""
    assert run(world, f"""
        local requests = {{}}
        for i = 1, 32 do requests[i] = {{"get", "{web.url}/together"}} end
        local responses, errors = http.request_batch(requests)
        assert(errors == nil)
        for i = 1, 32 do assert(responses[i].body == "together") end
        show(#responses)
    """) == [[32]]


def test_a_batch_is_bounded(world):
    script = world.keep(Script("""
        function connect()
            local requests = {}
            for i = 1, 257 do requests[i] = {"get", "http://localhost/"} end
            require("http").request_batch(requests)
        end"""))
    answer = script.ask()
    assert answer.verdict == "fail"
    assert "request_batch takes at most 256 requests" in answer.reason


def test_tls_is_checked(world, authority):
    import ssl
    certificate = authority.issue("web")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    web = world.keep(Web(context))
    lines = f"""
        local response, error = http.get("{web.url}/")
        show(response and response.status_code or error)
    """
    assert run(world, lines, SSL_CERT_FILE=authority.certificate) == [[200]]
    (error,), = run(world, lines)
    assert "certificate" in error.lower()


def test_a_proxy_from_the_environment(world, web):
    (body,), = run(world, """
        show(json.decode(http.get("http://no-such-host.invalid/path").body))
    """, HTTP_PROXY=web.url)
    assert body["path"] == "http://no-such-host.invalid/path"


# ---- json ----


def test_json_encodes(world):
    assert run(world, r"""
        local function text(value) return (assert(json.encode(value))) end
        show(text(nil), text(true), text(1), text(-1.5), text(1e15), text("a\"\n\0b"), text({}),
             text({1, "b", {}}), text({b=1, a={c=true}}), text("\195\164"))
        show(text({[3]="c", [2]="b", [1]="a"}))
        local shared = {1}
        show(text({shared, shared}))
        show(json.decode(text("\255x")))
    """) == [["null", "true", "1", "-1.5", "1000000000000000", '"a\\"\\n\\u0000b"', "[]",
              '[1,"b",[]]', '{"a":{"c":true},"b":1}', '"\u00e4"'],
             ['["a","b","c"]'], ["[[1],[1]]"], ["\ufffdx"]]


def test_json_does_not_encode(world):
    assert run(world, r"""
        local function error(value)
            local text, why = json.encode(value)
            assert(text == nil)
            return why
        end
        local loop = {}
        loop[1] = {loop}
        show(error({1, nil, 3}), error({1, a=2}), error({a=2, 1}), error({[true]=1}),
             error({[1.5]=1}))
        show(error(print), error({print}), error(request), error(0/0), error(1/0))
        show(error(loop))
        local deep, wide, large = {}, {}, {}
        for i = 1, 200 do deep = {deep} end
        for i = 1, 60 do wide = {wide, wide} end
        for i = 1, 20 do large[i] = ("x"):rep(100000) end
        show(error(deep), error(wide), error(large))
        show(error({["a\0b"]=1}), pcall(json.encode))
    """) == [["cannot encode sparse array"] + ["cannot encode mixed or invalid key types"] * 3
             + ["cannot encode sparse array"],
             ["cannot encode function to JSON"] * 2 + ["cannot encode userdata to JSON"]
             + ["cannot encode a number that is not finite to JSON"] * 2,
             ["cannot encode recursively nested tables to JSON"],
             ["cannot encode tables that are nested deeper than 100 levels"]
             + ["cannot encode more than 1 MiB to JSON"] * 2,
             ["cannot encode a key with a zero byte", False,
              "bad argument #1 to '?' (value expected)"]]


def test_json_decodes(world):
    assert run(world, r"""
        local t = json.decode('{"a": [1, 2.5, "x", true, {"b": {}}], "c": -12345678901234567890}')
        show(t.a[1], t.a[2], t.a[3], t.a[4], next(t.a[5].b) == nil, t.c < -1e19)
        show(json.decode("null") == nil, json.decode('"\\u00e4\\u0000"') == "\195\164\0",
             json.decode(" 7 "))
        local holes = json.decode("[1, null, 3]")
        show(holes[1], holes[2] == nil, holes[3])
    """) == [[1, 2.5, "x", True, True, True], [True, True, 7], [1, True, 3]]


def test_json_does_not_decode(world):
    (lines,), = run(world, r"""
        local errors = {}
        for _, text in ipairs({"", "{", "[1,]", "{'a':1}", "nope", "1 2", "\255", "1e999",
                               ("["):rep(150) .. ("]"):rep(150), ("["):rep(100000),
                               '"' .. ("x"):rep(1048576) .. '"'}) do
            local value, error = json.decode(text)
            assert(value == nil)
            errors[#errors + 1] = error
        end
        show(errors)
    """)
    assert len(lines) == 11
    assert all(isinstance(line, str) and line for line in lines)
    assert "nested deeper than 100" in lines[8]
    assert lines[10] == "JSON text is longer than 1 MiB"


# ---- Lua itself ----


@pytest.mark.parametrize("name", [
    "io", "debug", "package", "jit", "ffi", "module", "dofile", "loadfile", "newproxy",
    "os.execute", "os.exit", "os.remove", "os.rename", "os.tmpname", "os.getenv", "os.setlocale",
    "string.dump"])
def test_what_is_not_there(world, name):
    assert run(world, f"show({name} == nil)") == [[True]]


def test_what_is_there(world):
    assert run(world, r"""
        show(type(os.time()), type(os.clock()), os.date("!%Y-%m-%d", 0), os.difftime(5, 3),
             ("x"):rep(3), math.floor(2.5), table.concat({1, 2}, "-"), #{select(2, 1, 2, 3)},
             type(coroutine.create), pcall(error, "e"))
        show(require("json") == json, require("http") == http)
        show(load(coroutine.wrap(function() for _, s in ipairs({"return ", "1 ", "+ 2"}) do
                coroutine.yield(s) end end))())
        show(loadstring("return ...", "name")(5), select(2, loadstring("x x", "=name")))
    """) == [["number", "number", "1970-01-01", 2, "xxx", 2, "1-2", 2, "function", False, "e"],
             [True, True], [3], [5, "name:1: '=' expected near 'x'"]]


def test_no_bytecode(world):
    """Made by hand, since there is no string.dump."""
    assert run(world, r"""
        local code = "\27LJ\2\0\0\0"
        show(loadstring(code))
        show(load(function() local c = code; code = nil; return c end))
        show(loadstring("\239\187\191" .. "\27LJ") == nil, loadstring("#\n\27LJ") == nil)
    """) == [[None, "only text can be loaded, no bytecode"],
             [None, "only text can be loaded, no bytecode"], [True, True]]


@pytest.mark.parametrize("name", ["io", "ffi", "jit", "socket", "os", "culvert", "..//x"])
def test_no_other_module(world, name):
    (ok, error), = run(world, f"""show(pcall(require, "{name}"))""")
    assert not ok
    assert error == f"module '{name}' not found: there are http and json"


def test_a_request_cannot_be_tampered_with(world):
    assert run(world, r"""
        show(getmetatable(request), (pcall(setmetatable, request, {})))
        show((pcall(function() request.ip = function() return "x" end end)))
        show((pcall(request.ip)), (pcall(request.ip, {})), request:ip())
    """) == [[False, False], [False], [False, False, "127.0.0.1"]]


def test_print_is_bounded(world):
    script = world.keep(Script("""
        function connect(request)
            print("a", 1, nil, true)
            print(request:key())
            print(("x"):rep(100000))
            for i = 1, 100 do print(i) end
            return true
        end"""))
    for _ in range(2):
        printed = script.ask(key="sesame").printed
        assert printed[:2] == ["a 1 nil true", "[key]"]
        assert len(printed[2]) < 1024 and set(printed[2]) == {"x"}
        assert len(printed) == 64
        assert printed[-1] == "(what it prints more is left out)"


def test_events_are_tables(world):
    script = world.keep(Script("""
        function connect() return true end
        function on_event(event)
            if event.event == "bad" then error("no " .. event.what.deep[2]) end
            print(event.event, event.seq + 1, event.none == nil)
        end"""))
    assert script.loaded == {"loaded": True, "connect": True, "register": False, "on_event": True}
    assert script.tell(event="session.opened", seq=7, none=None).printed == [
        "session.opened 8 true"]
    answer = script.tell(event="bad", what={"deep": [1, "way"]})
    assert (answer.verdict, answer.reason) == ("fail", "policy.lua:4: no way")
