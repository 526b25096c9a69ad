"""The documentation against the code: settings, dependencies, commands, names and links."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

import duikou
from duikou.cli.jobs import JOB_FIELDS, Job, read_jobs
from duikou.cli.main import app
from duikou.cli.plan import FIELDS, read_plan
from duikou.provenance.certificates import Certificate
from duikou.provenance.producer import Producer
from duikou.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMAND_LINE = (ROOT / "docs/command-line.md").read_text()
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / ".github").glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NAME = re.compile(r"[A-Za-z0-9_.-]+")
OURS = {"duikou", "duikou-client"}
CLIENT = "client/pyproject.toml"


def blocks(language: str, page: str = README) -> list[str]:
    """The fenced blocks of one language in the README or another page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


TRAINING = ("training/requirements.txt", "training/requirements-voices.txt", "training/requirements-units.txt")


def shown_commands() -> list[list[str]]:
    """The words of every `duikou ...` line in the shell blocks of the README and of the page about the command line."""
    shown = [*blocks("sh"), *blocks("sh", COMMAND_LINE)]
    lines = [line for block in shown for line in block.replace("\\\n", " ").splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("duikou ")]
    assert len(commands) > 20
    return commands


def requirements() -> set[str]:
    """Names of everything that pyproject.toml and the requirements files ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    client = tomllib.loads((ROOT / CLIENT).read_text())["project"]
    lines = [*client["dependencies"], *project["dependencies"]]
    lines += [*(line for extra in project["optional-dependencies"].values() for line in extra)]
    for file in ("requirements-models.txt", *TRAINING):
        lines += [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith(("#", "-"))]
    names = {NAME.match(line).group().lower() for line in lines}  # type: ignore[union-attr]
    return names - OURS


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    field = Settings.model_fields[name]
    rows = [line for line in (ROOT / "docs/settings.md").read_text().splitlines() if f"`DUIKOU_{name.upper()}`" in line]
    assert len(rows) == 1, f"docs/settings.md must have one row for DUIKOU_{name.upper()}"
    _, _, default, meaning, _ = (cell.strip() for cell in rows[0].split("|"))
    assert default.strip("`") == ("" if field.default in ("", (), None) else str(field.default))
    assert meaning == field.description


def test_no_setting_is_documented_that_does_not_exist() -> None:
    documented = set(re.findall(r"`DUIKOU_([A-Z0-9_]+)`", (ROOT / "docs/settings.md").read_text()))
    assert documented == {name.upper() for name in Settings.model_fields}


def test_every_dependency_is_explained() -> None:
    explained = packages_of((ROOT / "docs/dependencies.md").read_text())
    assert requirements() <= explained, "docs/dependencies.md lacks these"


def packages_of(text: str) -> set[str]:
    """Names of the packages in the tables of some Markdown."""
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return {cell.strip().strip("`").lower() for line in rows for cell in line.split("|")[1].split(",")}


def dependencies() -> dict[str, list[str]]:
    """What each section of docs/dependencies.md explains, by the end of its title."""
    main, client = (tomllib.loads((ROOT / path).read_text())["project"] for path in ("pyproject.toml", CLIENT))
    extras = {f"`duikou[{extra}]`": main["optional-dependencies"][extra] for extra in ("server", "fleet", "otel")}
    return {"## At run time": main["dependencies"], "`duikou-client`": client["dependencies"], **extras}


@pytest.mark.parametrize("section", dependencies())
def test_every_dependency_is_explained_in_its_section(section: str) -> None:
    names = {NAME.match(line).group().lower() for line in dependencies()[section]} - OURS  # type: ignore[union-attr]
    _, title, rest = (ROOT / "docs/dependencies.md").read_text().partition(f"{section}\n")
    assert title
    assert packages_of(re.split(r"^##", rest, flags=re.MULTILINE)[0]) == names


def test_dependencies_are_pinned() -> None:
    pins = {
        line.partition("==")[0].lower()
        for file in ("constraints.txt", "requirements-models.txt", *TRAINING)
        for line in (ROOT / file).read_text().splitlines()
        if "==" in line
    }
    assert requirements() <= pins, "constraints.txt lacks these"


def test_the_first_commands_of_the_readme_are_demo_and_test() -> None:
    assert blocks("sh")[0].splitlines()[:2] == ["make demo", "make test"]


@pytest.mark.parametrize("command", shown_commands(), ids=" ".join)
def test_commands_that_are_shown_parse(command: list[str]) -> None:
    found = typer.main.get_command(app)
    name, *arguments = command[1:]
    if name.startswith("--"):
        assert name in {option for parameter in found.params for option in parameter.opts}
        return
    while hasattr(found := found.commands[name], "commands"):  # type: ignore[attr-defined]
        name, *arguments = arguments
    found.make_context(name, arguments)


def leaves(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that does something, with the words that lead to it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def test_every_command_and_option_is_documented() -> None:
    for name, command in leaves(typer.main.get_command(app)):
        assert f"duikou {name}" in README
        shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
        options = {option for parameter in shown for option in parameter.opts if option.startswith("--")}
        for option in options - {"--help", "--output"}:
            assert option in README + COMMAND_LINE, f"`duikou {name} {option}` is not documented"


def test_the_plans_that_are_shown_can_be_read(tmp_path: Path) -> None:
    (first, dialogue), (second, _) = blocks("json", COMMAND_LINE), blocks("csv", COMMAND_LINE)
    (tmp_path / "plan.json").write_text(first)
    (tmp_path / "plan.csv").write_text(second)
    assert read_plan(tmp_path / "plan.json") == read_plan(tmp_path / "plan.csv")
    (tmp_path / "dialogue.json").write_text(dialogue)
    assert [choice.face_id for choice in read_plan(tmp_path / "dialogue.json")] == ["auto", "auto"]


def test_the_fields_of_a_plan_are_those_of_a_choice_and_documented() -> None:
    assert len(FIELDS) == len(fields(duikou.FaceChoice)) - 1  # `trim` holds both ends
    assert fields_of("| field |") == set(FIELDS)


def fields_of(head: str) -> set[str]:
    """What the first column of the table with this head names, on the page about the command line."""
    table = COMMAND_LINE.partition(head)[2].partition("\n\n")[0]
    return set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE))))


def test_the_jobs_that_are_shown_can_be_read_and_their_fields_are_documented(tmp_path: Path) -> None:
    (_, table), (rows,) = blocks("csv", COMMAND_LINE), blocks("jsonl", COMMAND_LINE)
    made_by = Producer("duikou", Certificate(tmp_path / "c.pem", tmp_path / "k.pem"))
    read = {}
    for name, text in (("jobs.csv", table), ("jobs.jsonl", rows)):
        (tmp_path / name).write_text(text)
        found = read_jobs(tmp_path / name, made_by, None)
        read[name] = [job.order for job in found if isinstance(job, Job)]
        assert len(read[name]) == len(found)
    assert read["jobs.csv"] == read["jobs.jsonl"][:2]
    assert len(read["jobs.jsonl"][2].choices) == 2
    assert read["jobs.csv"][1].output.path == tmp_path / "talk.answer.synced.mp4"
    assert fields_of("| field of a job |") | set(FIELDS) == set(JOB_FIELDS)


def test_the_library_example_uses_names_that_exist() -> None:
    example = blocks("python")[0]
    tree = ast.parse(example)
    used = {node.attr: node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_duikou(node.value)}
    assert {"identify", "lip_sync", "FaceChoice"} <= used.keys()
    assert used.keys() <= set(duikou.__all__)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Attribute) and _is_duikou(call.func.value):
            signature = inspect.signature(getattr(duikou, call.func.attr))
            signature.bind(*call.args, **{word.arg: word for word in call.keywords if word.arg})


def _is_duikou(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "duikou"


def test_every_threat_has_tests_that_exist() -> None:
    table = (ROOT / "SECURITY.md").read_text().partition("| threat |")[2].splitlines()[2:]
    rows = [line for line in table if line.startswith("|")]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", row)
        assert named, f"no test shows: {row}"
        for file, name in named:
            assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{name}"


def test_the_house_has_a_row_for_every_room_in_the_order_of_the_layers() -> None:
    package = ROOT / "src/duikou"
    rooms = {folder.name for folder in package.iterdir() if (folder / "__init__.py").exists()}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    rows = re.findall(r"^\| `(\w+)/` \|", (ROOT / "docs/architecture/01-house.md").read_text(), re.MULTILINE)
    assert rows == [name for layer in layers for name in NAME.findall(layer) if name in rooms]
    assert set(rows) == rooms


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?<!keys )\bmake ([a-z-]+)", README)) <= targets


def test_paths_and_make_targets_of_the_contributors_page_exist() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:src|tests|docs|deploy|\.ci)/[\w./-]+)`", page)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", page, re.MULTILINE)) == targets - {"help", "clean"}


SCHEMAS = {
    "workflows": [".github/workflows/ci.yaml"],
    "issue-forms": [".github/ISSUE_TEMPLATE/bug.yaml", ".github/ISSUE_TEMPLATE/feature.yaml"],
    "issue-config": [".github/ISSUE_TEMPLATE/config.yml"],
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_files_for_github_keep_to_their_schemas(name: str) -> None:
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", f"vendor.github-{name}"]
    done = subprocess.run([*command, *SCHEMAS[name]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_hooks_before_a_commit_are_the_commands_of_make_lint() -> None:
    recipes = re.findall(r"^lint_\w+:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    lines = "".join(recipes).splitlines()
    commands = [line.strip().removeprefix("@$(BIN)/").removesuffix(" .") for line in lines]
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook["entry"].removeprefix(".venv/bin/").removesuffix(" --force-exclude") for hook in local["hooks"]]
    assert hooks == commands


def test_the_changelog_has_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    versions = re.findall(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[:2] == ["Unreleased", version]
