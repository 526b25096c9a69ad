"""The rooms' import directions, as pyproject.toml draws them, and what an import loads."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import duikou

ROOT = Path(__file__).parents[2]
SERVER_PACKAGES = ("fastapi", "sqlalchemy", "alembic", "uvicorn", "aiohttp", "structlog")
SERVER_EXTRA = (
    *SERVER_PACKAGES,
    "aiodns",
    "h11",
    "jwt",
    "limits",
    "prometheus_client",
    "python_multipart",
    "starlette",
)
MEDIA_PACKAGES = ("av", "cv2", "numpy", "scipy", "onnxruntime", "ai_edge_litert", "c2pa", "cryptography")

WITHOUT = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
for name in {names!r}:
    sys.modules.pop(name, None)
"""
"""Code after which these packages cannot be imported."""


def test_rooms_import_one_way_only() -> None:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache"]  # its cache outlives the files it describes
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_itself_imports_no_media_library() -> None:
    assert loaded("duikou", *MEDIA_PACKAGES, *SERVER_PACKAGES) == []


def test_the_command_line_imports_no_heavy_package() -> None:
    assert loaded("duikou.cli, duikou.cli.main", "rich", "pydantic", *MEDIA_PACKAGES, *SERVER_PACKAGES) == []


def test_the_client_imports_no_heavy_package() -> None:
    heavy = set(MEDIA_PACKAGES) - {"cryptography"}  # PyJWT takes it where it is installed
    assert loaded("duikou.client", "duikou.settings", "pydantic", *heavy, *SERVER_PACKAGES) == []


def test_library_and_commands_need_no_server_packages(tmp_path: Path) -> None:
    code = "import duikou; duikou.identify, duikou.lip_sync; from duikou.cli.main import run;"
    code += "assert (run(['--help']), run(['faces', '--help']), run(['sync', '--help'])) == (0, 0, 0);"
    done = run_without(SERVER_EXTRA, code + "sys.exit(run(['doctor']))", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "H.264 out" in done.stdout


@pytest.mark.parametrize("command", ["serve", "studio", "worker", "keys list", "tasks list"])
def test_a_command_of_the_server_names_the_extra_that_it_needs(command: str, tmp_path: Path) -> None:
    done = run_without(SERVER_EXTRA, f"from duikou.cli.main import run; sys.exit(run({command.split()!r}))", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"duikou: this command needs the package \w+, which is not installed; "
        r"run: \S+ -m pip install 'duikou\[server\]'\n",
        done.stderr,
    )
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_runs_without_the_modules_that_only_unix_has() -> None:
    done = run_without(("fcntl", "resource"), "from duikou.cli.main import run; sys.exit(run(['sync', '--help']))")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--sync-mode" in done.stdout


def test_the_library_imports_no_server_packages() -> None:
    assert loaded("duikou.pipeline.sync, duikou.pipeline.session, duikou.provenance.producer", *SERVER_PACKAGES) == []


def test_a_server_alone_imports_nothing_of_a_fleets() -> None:
    packages = ("celery", "kombu", "obstore", "psycopg", "opentelemetry.sdk", "opentelemetry.exporter")
    assert loaded("duikou.cli.main, duikou.server, duikou.server.startup", *packages) == []


def test_a_server_imports_what_fetching_and_migrating_take_only_for_that(tmp_path: Path) -> None:
    """aiohttp and Alembic took a fifth of a server's start."""
    code = (
        "import duikou.server, duikou.server.startup, sys; from duikou.database.engine import Database;"
        f"[Database('sqlite:///{tmp_path / 'new.db'}').close() for _ in range(2)];"
        "print([name for name in ('aiohttp', 'alembic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_servers_and_workers_leave_rendering_to_their_children() -> None:
    modules = ("duikou.pipeline.sync", "duikou.render.compose", "scipy", "onnxruntime", "ai_edge_litert")
    assert loaded("duikou.server, duikou.workers.executor", *modules) == []


def test_rendering_does_without_the_slow_parts_of_scipy() -> None:
    """They take 0.5 s to import, in every command and in every process that forks children."""
    assert loaded("duikou.workers.preload", "scipy.signal", "scipy.stats") == []


@pytest.mark.parametrize("name", duikou.__all__)
def test_every_public_name_is_found_and_listed(name: str) -> None:
    assert getattr(duikou, name) is not None
    assert name in dir(duikou)


def test_a_public_name_can_be_imported_from_the_package() -> None:
    code = "from duikou import FaceChoice, identify, __version__; print(identify.__module__, __version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["duikou.pipeline.session", duikou.__version__]


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'duikou' has no attribute 'identfy'"):
        _ = duikou.identfy  # type: ignore[attr-defined]


def test_a_sandboxed_child_has_the_whole_work_loaded() -> None:
    """Once restricted it cannot read the files of modules."""
    code = (
        "import duikou.workers.preload, sys; before = set(sys.modules);"
        "import duikou; duikou.identify, duikou.lip_sync, duikou.Session, duikou.FaceChoice;"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def run_without(packages: tuple[str, ...], code: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `code` where these packages are missing."""
    command = [sys.executable, "-c", WITHOUT.format(names=packages) + code]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def loaded(modules: str, *packages: str) -> list[str]:
    """Which of these packages come with the modules."""
    code = f"import sys, json, {modules}; print(json.dumps([name for name in {packages!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found
