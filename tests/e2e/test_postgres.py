"""PostgreSQL with TLS of its own through the tunnel."""

import re

import pytest

from culvert.process import run
from culvert.services import PostgresServer
from culvert.world import environment

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def postgres(services):
    return PostgresServer(services)


def target(port):
    return f"host=127.0.0.1 port={port} sslmode=require user=postgres dbname=postgres"


def psql(port, statement):
    result = run(["psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", target(port), "-c", statement],
                 env=environment())
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_psql_speaks_tls_end_to_end(world, postgres, secure):
    tunnel = world.tunnel(postgres.port, secure=secure)
    assert psql(tunnel.port(),
                "select ssl from pg_stat_ssl where pid = pg_backend_pid()") == "t"


def test_a_large_result(world, postgres, secure):
    tunnel = world.tunnel(postgres.port, secure=secure)
    rows = psql(tunnel.port(), "select n, repeat('x', 100) from generate_series(1, 100000) n")
    lines = rows.split("\n")
    assert len(lines) == 100000
    assert lines[-1] == "100000|" + "x" * 100


def test_cancelling_a_query_reaches_the_server(world, postgres, secure):
    tunnel = world.tunnel(postgres.port, secure=secure)
    result = run(["psql", "-X", target(tunnel.port()),
                  "-c", "set statement_timeout = '200ms'", "-c", "select pg_sleep(60)"],
                 env=environment())
    assert "statement timeout" in result.stderr
    assert psql(tunnel.port(), "select 1") == "1"


@pytest.mark.slow
def test_pgbench(world, postgres, secure):
    tunnel = world.tunnel(postgres.port, secure=secure)
    run(["pgbench", "-i", "-q", "-s", "1", target(tunnel.port())], env=environment(), check=True)
    result = run(["pgbench", "-n", "-T", "3", "-c", "8", "-j", "2", target(tunnel.port())],
                 env=environment(), check=True)
    assert "number of failed transactions: 0 " in result.stdout, result.stdout
    assert int(re.search(r"actually processed: (\d+)", result.stdout)[1]) > 100
