"""Certificates made by openssl: an authority, and what it signs."""

import os

from culvert.process import run


class Certificate:
    """PEM files of a certificate and its key."""

    def __init__(self, certificate, key):
        self.certificate = certificate
        self.key = key


class Authority:
    """A certificate authority in a directory of its own."""

    def __init__(self, directory):
        self._directory = str(directory)
        os.makedirs(self._directory, exist_ok=True)
        self.certificate = self._path("ca.pem")
        self._key = self._path("ca.key")
        self._make_key(self._key)
        run(["openssl", "req", "-x509", "-new", "-key", self._key, "-out", self.certificate,
             "-days", "30", "-subj", "/CN=Test authority",
             "-addext", "basicConstraints=critical,CA:TRUE",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign"], check=True)
        with open(self._path("index.txt"), "w", encoding="ascii"):
            pass
        self._serial = 0

    def _path(self, name):
        return os.path.join(self._directory, name)

    @staticmethod
    def _make_key(path):
        run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-out", path], check=True)
        os.chmod(path, 0o600)

    def issue(self, name, subjects=("DNS:localhost", "IP:127.0.0.1", "IP:::1"), expired=False):
        """A server's certificate for `subjects`; an expired one ended long ago."""
        self._serial += 1
        certificate, key = self._path(f"{name}.pem"), self._path(f"{name}.key")
        request, config = self._path(f"{name}.csr"), self._path(f"{name}.cnf")
        self._make_key(key)
        run(["openssl", "req", "-new", "-key", key, "-out", request, "-subj", f"/CN={name}"],
            check=True)
        with open(config, "w", encoding="ascii") as file:
            file.write(f"""[ca]
default_ca = authority
[authority]
database = {self._path("index.txt")}
new_certs_dir = {self._directory}
serial = {self._path("serial")}
default_md = sha256
policy = policy
unique_subject = no
x509_extensions = server
[policy]
commonName = supplied
[server]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = {",".join(subjects)}
""")
        with open(self._path("serial"), "w", encoding="ascii") as file:
            file.write(f"{0x1000 + self._serial:04x}\n")
        dates = (["-startdate", "200101000000Z", "-enddate", "210101000000Z"]
                 if expired else ["-days", "20"])
        run(["openssl", "ca", "-batch", "-notext", "-config", config, "-in", request,
             "-out", certificate, "-cert", self.certificate, "-keyfile", self._key, *dates],
            check=True)
        return Certificate(certificate, key)
