"""The rooms' import directions, as pyproject.toml draws them."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_rooms_import_one_way_only() -> None:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache"]  # its cache outlives the files it describes
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_imports_without_the_web_framework() -> None:
    assert loaded("duikou", "fastapi", "sqlalchemy", "uvicorn") == []


def test_a_server_alone_imports_nothing_of_a_fleets() -> None:
    packages = ("celery", "kombu", "obstore", "psycopg", "opentelemetry.sdk", "opentelemetry.exporter")
    assert loaded("duikou.cli.main, duikou.server, duikou.server.startup", *packages) == []


def loaded(modules: str, *packages: str) -> list[str]:
    """Which of these packages come with the modules."""
    code = f"import sys, json, {modules}; print(json.dumps([name for name in {packages!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found
