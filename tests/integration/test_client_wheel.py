"""The two distributions: who owns which file, and what the client alone needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import httpx
import pytest

from duikou.client import __version__

ROOT = Path(__file__).parents[2]
CLIENT = {f"duikou/client/{path.name}" for path in (ROOT / "src/duikou/client").iterdir() if path.is_file()}

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels by their distribution's name, built from a copy of the sources and without a network."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in ("src", "client"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    for name in ("LICENSE", "NOTICE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", "dist"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "./client", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {path.name.partition("-")[0].replace("_", "-"): path for path in (folder / "dist").glob("*.whl")}
    assert found.keys() == {"duikou", "duikou-client"}
    return found


def files(wheel: Path) -> set[str]:
    """Files of a wheel that are installed, without the descriptions of the distribution."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_clients_wheel_has_the_client_alone(wheels: dict[str, Path]) -> None:
    assert files(wheels["duikou-client"]) == CLIENT
    assert "duikou/client/py.typed" in CLIENT


def test_no_file_is_in_both_wheels(wheels: dict[str, Path]) -> None:
    assert not files(wheels["duikou"]) & CLIENT
    assert {"duikou/__init__.py", "duikou/py.typed", "duikou/server/app.py"} <= files(wheels["duikou"])


def test_the_wheel_has_every_file_of_the_page(wheels: dict[str, Path]) -> None:
    folder = ROOT / "src/duikou/studio"
    kept = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {"__init__.py", "index.html", "main.js", "studio.css"} <= {path.name for path in kept}
    page = {path.relative_to(ROOT / "src").as_posix() for path in kept}
    assert page == {name for name in files(wheels["duikou"]) if name.startswith("duikou/studio/")}


def test_the_clients_wheel_carries_its_licence(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["duikou-client"]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/LICENSE")]
        assert archive.read(name) == (ROOT / "LICENSE").read_bytes()


def test_the_client_runs_without_the_rest_of_duikou(wheels: dict[str, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(wheels["duikou-client"]) as archive:
        archive.extractall(tmp_path)
    code = (
        "import sys, duikou, duikou.client; assert duikou.__file__ is None; duikou.client.Duikou().close();"
        "print(duikou.client.__file__);"
        "print([name for name in ('numpy', 'av', 'cv2', 'pydantic', 'duikou.errors') if name in sys.modules])"
    )
    # -S -E: neither editable installations nor PYTHONPATH put the sources before the wheel's files.
    paths = [str(tmp_path), str(Path(httpx.__file__).parents[1])]
    command = [sys.executable, "-S", "-E", "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [str(tmp_path / "duikou/client/__init__.py"), "[]"], done.stderr


def test_both_distributions_have_one_version() -> None:
    main, client = (tomllib.loads((ROOT / path).read_text()) for path in ("pyproject.toml", "client/pyproject.toml"))
    assert main["project"]["version"] == client["project"]["version"] == __version__
    assert f"duikou-client=={__version__}" in main["project"]["dependencies"]
    assert main["build-system"] == client["build-system"]
