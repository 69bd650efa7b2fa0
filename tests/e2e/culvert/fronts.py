"""Web servers in front of a gateway, as the command lines that start them."""

import os
import shutil

from culvert.peers import free_port
from culvert.services import wait_for_port

SBIN = "/usr/sbin:/usr/bin:/sbin:/bin"
NGINX_PATHS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def nginx_command(world, text, is_stream=False):
    """nginx with this configuration inside `http`, or, if it `is_stream`, beside it."""
    temporary = "".join(f"{name}_temp_path {world.path(name)};\n" for name in NGINX_PATHS)
    main = (f"daemon off;\npid {world.path('nginx.pid')};\nerror_log stderr warn;\n"
            f"events {{ worker_connections 768; }}\n")
    if os.geteuid() == 0:
        main += "user root;\n"
    if is_stream:
        main = f"load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n{main}{text}"
    else:
        main += f"http {{\naccess_log off;\n{temporary}{text}}}\n"
    return [shutil.which("nginx", path=SBIN), "-e", "stderr", "-p", world.directory, "-c",
            world.write(world.unique("nginx"), main)]


class Nginx:
    """nginx that passes requests on to a gateway, with these lines in its `location`. `secure`: it
    speaks TLS, and the gateway does not."""

    def __init__(self, world, gateway, lines, secure=False):
        self.port = free_port()
        self.authority = world.authority if secure else None
        tls = ""
        if secure:
            certificate = world.authority.issue(world.unique("front"))
            tls = (f"ssl_certificate {certificate.certificate};\n"
                   f"ssl_certificate_key {certificate.key};\n")
        text = (f"server {{\nlisten 127.0.0.1:{self.port}{' ssl' if secure else ''};\n{tls}"
                f"location / {{\nproxy_pass http://127.0.0.1:{gateway.port};\n"
                f"proxy_http_version 1.1;\n{lines}\n}}\n}}\n")
        self.process = world.process("nginx", nginx_command(world, text))
        wait_for_port(self.process, self.port)

    def url(self):
        return f"{'wss' if self.authority else 'ws'}://127.0.0.1:{self.port}"
