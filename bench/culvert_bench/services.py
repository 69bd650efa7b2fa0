"""What stands behind every contender: iperf3, an HTTP server and an echo server on loopback."""

import shutil

from .processes import Process, free_port, wait_for_port

STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"


def nginx_command(folder, name, body):
    """A command that runs an nginx of our own, in the foreground, with everything in `folder`."""
    prefix = folder / name
    for part in ("", "body", "proxy", "fastcgi", "uwsgi", "scgi"):
        (prefix / part).mkdir(exist_ok=True)
    config = prefix / "nginx.conf"
    config.write_text(
        f"daemon off;\nworker_processes 1;\nworker_rlimit_nofile 65536;\n"
        f"pid {prefix}/pid;\nerror_log {prefix}/error.log crit;\n"
        f"{body}\n")
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    return [nginx, "-p", prefix, "-c", config, "-e", prefix / "error.log"]


class Services:
    def __init__(self, folder, tools):
        self.folder = folder
        self.tools = tools
        self.running = []
        self.ports = {name: free_port() for name in ("iperf", "http", "echo")}

    def start(self):
        prefix = self.folder / "backend"
        http = (
            "events { worker_connections 20000; }\n"
            "http { access_log off; keepalive_requests 1000000000; keepalive_timeout 3600;\n"
            f"client_body_temp_path {prefix}/body; proxy_temp_path {prefix}/proxy;\n"
            f"fastcgi_temp_path {prefix}/fastcgi; uwsgi_temp_path {prefix}/uwsgi;\n"
            f"scgi_temp_path {prefix}/scgi;\n"
            f"server {{ listen 127.0.0.1:{self.ports['http']} backlog=4096;\n"
            "default_type text/plain; location / { return 200 \"hello\\n\"; } } }\n")
        commands = {
            "iperf": ["iperf3", "--server", "--bind", "127.0.0.1", "--port", self.ports["iperf"]],
            "http": nginx_command(self.folder, "backend", http),
            "echo": [self.tools / "echo_latency", "serve", self.ports["echo"]],
        }
        for name, command in commands.items():
            self.running.append(Process(name, command, self.folder))
            if name != "iperf":
                wait_for_port(self.ports[name])
        # iperf3 takes a bare connection for a client that broke off: it is asked by its clients.

    def stop(self):
        for process in self.running:
            process.stop()
        self.running = []
