"""The services that the simulation runs on: those of the tests, as durable as a real installation's."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.performance.processes import cpu_s

DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "max_connections": "400",
    "autovacuum_naptime": "10s",  # the simulation lasts minutes, not days
}
CONNECTIONS = 16


@dataclass(frozen=True)
class Services:
    """A database and a broker."""

    postgres: Any
    rabbit: Any

    def database_cpu_s(self) -> float:
        """Processor time of PostgreSQL so far."""
        return cpu_s(self.postgres.pid)

    def broker_cpu_s(self) -> float:
        """Processor time of RabbitMQ so far."""
        return cpu_s(self.rabbit.pid)

    def published(self, broker_url: str) -> int:
        """Messages sent to the queues of a virtual host so far."""
        host = broker_url.rpartition("/")[2]
        queues = json.loads(self.rabbit._managed("GET", f"queues/{host}") or b"[]")
        return sum(queue.get("message_stats", {}).get("publish", 0) for queue in queues)


@contextmanager
def services() -> Iterator[Services]:
    """Both, until the block ends."""
    helpers = str(Path(__file__).parents[2] / "tests/helpers")
    if helpers not in sys.path:
        sys.path.append(helpers)
    there: Any = importlib.import_module("services")
    postgres, rabbit = there.Postgres(), there.Rabbit()
    usual = postgres.command()
    durable = [word for name, value in DURABLE.items() for word in ("-c", f"{name}={value}")]
    postgres.command = lambda: [*usual, *durable]
    with ExitStack() as stack:
        yield Services(stack.enter_context(postgres), stack.enter_context(rabbit))


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the benchmark's own, each statement a transaction."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        yield connection


def floor(postgres: Any, seconds: int) -> dict[str, float]:
    """Transactions in a second that PostgreSQL does here with nothing but one row written in each (pgbench)."""
    there: Any = importlib.import_module("services")
    program = there._postgres_program("pgbench")
    url = postgres.fresh()
    with connected(url) as connection:
        connection.execute("CREATE TABLE floor (id serial PRIMARY KEY, value int NOT NULL)")
        connection.execute("INSERT INTO floor (value) SELECT 0 FROM generate_series(1, 10000)")
    scripts = {
        "insert": "INSERT INTO floor (value) VALUES (1);",
        "update": "\\set id random(1, 10000)\nUPDATE floor SET value = value + 1 WHERE id = :id;",
    }
    rates = {}
    for name, script in scripts.items():
        for connections in (1, CONNECTIONS):
            done = subprocess.run(
                [
                    *(program, "-n", "-f", "/dev/stdin", "-c", str(connections), "-T", str(seconds)),
                    url.replace("+psycopg", ""),
                ],
                input=script,
                capture_output=True,
                text=True,
                check=True,
            )
            found = re.search(r"tps = ([\d.]+)", done.stdout)
            assert found, done.stdout
            rates[f"{name}, {connections} connections"] = float(found[1])
    return rates
