"""What is deployed, as far as that can be checked without an engine or a cluster: each file by the linter or schema of
its kind, and all of them against the settings, figures and files that they name.
"""

from __future__ import annotations

import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from duikou.cli.main import EXIT_TERMINATED, app
from duikou.cli.terminal import EXIT_INPUT
from duikou.server.app import GRACE_S
from duikou.settings import Settings
from duikou.tasks.states import Queue

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
BIN = Path(sys.executable).parent
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PAGE = (ROOT / "docs/operations.md").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUSTOMIZATIONS = sorted(KUBERNETES.rglob("kustomization.yaml"))
MANIFESTS = sorted(set(KUBERNETES.rglob("*.yaml")) - set(KUSTOMIZATIONS))
OBJECTS = [object_ for path in MANIFESTS for object_ in yaml.safe_load_all(path.read_text())]
CUSTOM = {"ScaledObject", "PodMonitor"}  # of KEDA and of the Prometheus operator: no schema lies at hand

MARGIN_MB = 1024  # what a container may take beside its tasks
USER = 10001


def kind(name: str) -> list[dict[str, Any]]:
    return [object_ for object_ in OBJECTS if object_["kind"] == name]


def named(object_: dict[str, Any]) -> str:
    return object_["metadata"]["name"]


DEPLOYMENTS = kind("Deployment")
WORKERS = [deployment for deployment in DEPLOYMENTS if named(deployment).startswith("worker-")]
SCALED = kind("ScaledObject")
OURS = {name: service for name, service in COMPOSE["services"].items() if "build" in service}


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(deployment)["containers"]
    return only


def variables(deployment: dict[str, Any]) -> dict[str, str]:
    """What is set for a container itself, beside the shared settings."""
    return {entry["name"]: entry["value"] for entry in container(deployment)["env"]}


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def default(name: str) -> Any:
    return Settings.model_fields[name].default


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def megabytes(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([a-zA-Z]+)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"m": 1, "mi": 1, "g": 1024, "gi": 1024}[unit.lower()]


# --- each file by itself ---------------------------------------------------------------------------------------------


def test_the_dockerfile_has_no_faults() -> None:
    run(str(BIN / "hadolint"), "deploy/Dockerfile")


def test_all_yaml_is_in_order() -> None:
    run(str(BIN / "yamllint"), "--strict", "--config-file", "deploy/.yamllint", "deploy")


def test_compose_keeps_to_its_schema() -> None:
    run(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml")


def test_kubernetes_objects_keep_to_their_schemas() -> None:
    plain = [path for path in MANIFESTS if not {o["kind"] for o in yaml.safe_load_all(path.read_text())} & CUSTOM]
    assert len(plain) >= 5
    run(str(BIN / "kubernetes-validate"), "--strict", *map(str, plain))


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: path.parent.name)
def test_a_kustomization_names_all_that_lies_beside_it(path: Path) -> None:
    named_here = set(yaml.safe_load(path.read_text())["resources"])
    assert named_here == {file.name for file in path.parent.glob("*.yaml")} - {path.name, "secret.example.yaml"}


def test_optional_parts_are_where_they_are_said_to_be() -> None:
    (folder,) = re.findall(r"^# components: \[(\w+)\]", (KUBERNETES / "kustomization.yaml").read_text(), re.MULTILINE)
    assert yaml.safe_load((KUBERNETES / folder / "kustomization.yaml").read_text())["kind"] == "Component"


# --- the image -------------------------------------------------------------------------------------------------------


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source for line in re.findall(r"^COPY (?!--from)(.+)", DOCKERFILE, re.MULTILINE) for source in line.split()[:-1]
    }
    assert copied == let_through
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_does_not_run_as_root_and_its_last_stage_only_copies() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert f"USER {USER}:{USER}\n" in last
    assert f"--uid {USER} " in last
    assert not re.search(r"\bpip\b|\bapt", last)


def test_the_image_has_the_packages_of_servers_and_workers() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (installed,) = re.findall(r"'\.\[([a-z,]+)\]'", DOCKERFILE)
    assert {"fleet", "otel"} <= set(installed.split(","))
    assert "duikou[server]" in extras["fleet"]


def test_the_image_starts_the_server() -> None:
    assert re.findall(r"^(?:ENTRYPOINT|CMD) .*", DOCKERFILE, re.MULTILINE) == ['ENTRYPOINT ["duikou"]', 'CMD ["serve"]']


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(self.server.status if self.path == "/healthz" else 404)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def health(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEPLOY / "healthcheck.py")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DUIKOU_")}
    return subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("variable", ["DUIKOU_PORT", "DUIKOU_WORKER_METRICS_PORT"])
def test_the_health_check_tells_a_good_answer_from_a_bad_one_and_from_none(variable: str, answering) -> None:
    port = str(answering.server_port)
    answering.status = 200
    assert health(**{variable: port}).returncode == 0
    answering.status = 503
    assert health(**{variable: port}).stderr == f"/healthz on port {port} answers 503\n"
    answering.server_close()
    assert f"nothing answers on port {port}" in health(**{variable: port}).stderr


@pytest.mark.parametrize(
    "words",
    [
        *(service["command"] for service in OURS.values() if "command" in service),
        *(container(deployment)["args"] for deployment in DEPLOYMENTS if "args" in container(deployment)),
        *re.findall(r"(?:run --rm api|-- duikou) ([^#\n]*[^#\s])", (DEPLOY / "compose.yaml").read_text()),
        *re.findall(r"(?:run --rm api|-- duikou) ([^#\n]*[^#\s])", (KUBERNETES / "kustomization.yaml").read_text()),
        *re.findall(r"`duikou ([a-z][^`]*)`", PAGE),
    ],
    ids=lambda words: words if isinstance(words, str) else " ".join(words),
)
def test_what_is_run_is_a_command(words: str | list[str]) -> None:
    found: Any = typer.main.get_command(app)
    name, *arguments = words.split() if isinstance(words, str) else words
    while hasattr(found := found.commands[name], "commands"):
        name, *arguments = arguments
    found.make_context(name, arguments)


# --- settings, images, secrets ---------------------------------------------------------------------------------------


def test_every_setting_that_is_named_exists() -> None:
    files = [path for path in [*DEPLOY.rglob("*"), ROOT / "docs/operations.md"] if path.is_file()]
    used = {name for path in files for name in re.findall(r"\bDUIKOU_([A-Z0-9_]+)", path.read_text())}
    assert used - {name.upper() for name in Settings.model_fields} == set()


def test_every_image_has_a_tag_that_stays() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    images += [service["image"] for service in COMPOSE["services"].values()]
    images += [
        f"{image['newName']}:{image['newTag']}"
        for path in KUSTOMIZATIONS
        for image in yaml.safe_load(path.read_text())["images"]
    ]
    assert len(images) > 10
    for image in images:
        name, _, tag = image.rpartition(":")
        assert name, image
        assert re.search(r"\d", tag), image


def test_every_image_of_the_cluster_is_given_its_name() -> None:
    given = {image["name"] for path in KUSTOMIZATIONS for image in yaml.safe_load(path.read_text())["images"]}
    assert {container(deployment)["image"] for deployment in DEPLOYMENTS} == given


SECRET = re.compile(r"PASSWORD|_PASS$|SECRET|TOKEN|KEY|_(DATABASE|BROKER)_URL$")


def test_compose_takes_every_secret_from_the_environment_and_stops_without() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    taken = set(re.findall(r"\$\{(\w+):\?see deploy/env\.example\}", text))
    assert text.count("${") == len(re.findall(r"\$\{\w+:\?see deploy/env\.example\}", text))
    example = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "env.example").read_text(), re.MULTILINE))
    assert example.keys() == taken
    assert [name for name, value in example.items() if value] == ["SITE", "S3_ACCESS_KEY"]  # neither is secret
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not SECRET.search(name) or "${" in value, name


def test_the_cluster_takes_every_secret_from_a_secret() -> None:
    config = dict(re.findall(r"^(\w+)=(.*)$", (KUBERNETES / "config.env").read_text(), re.MULTILINE))
    (generated,) = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["configMapGenerator"]
    assert generated["envs"] == ["config.env"]
    (secret,) = kind("Secret")
    for deployment in DEPLOYMENTS:
        assert container(deployment)["envFrom"] == [
            {"configMapRef": {"name": generated["name"]}},
            {"secretRef": {"name": named(secret)}},
        ]
    assert all(SECRET.search(name) for name in secret["stringData"])
    assert not any(SECRET.search(name) for name in [*config, *(name for d in DEPLOYMENTS for name in variables(d))])
    (monitor,) = kind("PodMonitor")
    for endpoint in monitor["spec"]["podMetricsEndpoints"]:
        credentials = endpoint["authorization"]["credentials"]
        assert credentials["name"] == named(secret)
        assert credentials["key"] in secret["stringData"]


def test_a_filled_in_environment_is_never_committed() -> None:
    assert ".env" in (DEPLOY / ".gitignore").read_text().splitlines()


# --- rights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_no_container_has_rights_that_it_does_not_need(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    if name in OURS:
        assert service["read_only"]
        assert "cap_add" not in service


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=named)
def test_pods_keep_to_the_restricted_standard(deployment: dict[str, Any]) -> None:
    (space,) = kind("Namespace")
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod(deployment)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(deployment)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(deployment)["automountServiceAccountToken"] is False
    # A Service named `duikou` would else set DUIKOU_PORT to an address.
    assert pod(deployment)["enableServiceLinks"] is False
    scratch = {volume["name"]: volume["emptyDir"]["sizeLimit"] for volume in pod(deployment)["volumes"]}
    assert {mount["mountPath"] for mount in container(deployment)["volumeMounts"]} == {"/data", "/tmp"}
    room = megabytes(container(deployment)["resources"]["limits"]["ephemeral-storage"])
    assert sum(map(megabytes, scratch.values())) <= room


def test_workers_do_not_reach_the_internet() -> None:
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name, service in OURS.items():
        assert ("outside" in service["networks"]) == (name == "api")
    policies = {named(policy): policy["spec"] for policy in kind("NetworkPolicy")}
    assert policies["nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    inside = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.20.10/32")
    for name, spec in policies.items():
        peers = [peer for rule in spec.get("egress", []) for peer in rule["to"]]
        if any(peer["ipBlock"]["cidr"] not in inside for peer in peers if "ipBlock" in peer):
            assert spec["podSelector"] == {"matchLabels": {"app.kubernetes.io/component": "api"}}, name


def test_every_container_tells_whether_it_works() -> None:
    assert "HEALTHCHECK" in DOCKERFILE
    for name, service in COMPOSE["services"].items():
        assert "healthcheck" in service or name in OURS or name == "bucket"  # which ends
    for deployment in DEPLOYMENTS:
        ports = {port["name"]: port["containerPort"] for port in container(deployment)["ports"]}
        for probe in ("startupProbe", "livenessProbe"):
            assert container(deployment)[probe]["httpGet"]["path"] == "/healthz"
            assert container(deployment)[probe]["httpGet"]["port"] in ports
        if deployment in WORKERS:
            assert variables(deployment)["DUIKOU_WORKER_METRICS_PORT"] == str(ports["metrics"])
        else:
            assert container(deployment)["readinessProbe"]["httpGet"]["path"] == "/readyz"
            assert ports["http"] == default("port")


# --- sizes and times -------------------------------------------------------------------------------------------------


def test_workers_have_memory_for_all_that_they_take_in_hand() -> None:
    limits = [
        (service["command"], service["deploy"]["resources"]["limits"]["memory"])
        for name, service in OURS.items()
        if name != "api"
    ]
    limits += [(container(worker)["args"], container(worker)["resources"]["limits"]["memory"]) for worker in WORKERS]
    assert len(limits) == 5
    for words, memory in limits:
        tasks = int(option(words, "--concurrency"))
        assert megabytes(memory) >= tasks * default("task_memory_mb") + MARGIN_MB


def test_every_queue_has_workers() -> None:
    assert {option(container(worker)["args"], "--queues") for worker in WORKERS} == set(Queue)
    assert {option(s["command"], "--queues") for name, s in OURS.items() if name != "api"} == set(Queue) - {Queue.GPU}


def test_nothing_is_killed_before_it_has_drained() -> None:
    for name, service in OURS.items():
        grace_s = int(service["stop_grace_period"].removesuffix("s"))
        if name == "api":
            assert grace_s > int(service["environment"]["DUIKOU_DRAIN_S"]) + GRACE_S
        else:
            assert grace_s > int(service["environment"]["DUIKOU_WORKER_DRAIN_S"])
    for deployment in DEPLOYMENTS:
        grace_s = pod(deployment)["terminationGracePeriodSeconds"]
        if deployment in WORKERS:
            assert grace_s > int(variables(deployment)["DUIKOU_WORKER_DRAIN_S"])
        else:
            waits_s = container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert grace_s > waits_s + int(variables(deployment)["DUIKOU_DRAIN_S"]) + GRACE_S


def test_a_worker_that_is_scaled_away_finishes_what_it_has_in_hand() -> None:
    longest_s = {"identify": default("identify_timeout_s")}
    for worker in WORKERS:
        queue = option(container(worker)["args"], "--queues")
        assert int(variables(worker)["DUIKOU_WORKER_DRAIN_S"]) >= longest_s.get(queue, default("task_timeout_s"))


def test_the_broker_leaves_a_message_with_its_worker_as_long_as_a_task_may_take() -> None:
    (timeout_ms,) = re.findall(r"^consumer_timeout = (\d+)$", (DEPLOY / "rabbitmq.conf").read_text(), re.MULTILINE)
    assert int(timeout_ms) > 2 * default("task_timeout_s") * 1000
    assert any("rabbitmq.conf" in volume for volume in COMPOSE["services"]["rabbitmq"]["volumes"])


# --- scaling ---------------------------------------------------------------------------------------------------------


def figures() -> set[str]:
    """Names of the figures that the code tells, as its source has them: a counter's without its `_total`."""
    files = ("telemetry/metrics.py", "tasks/metrics.py")
    return {
        name for file in files for name in re.findall(r'"(duikou_[a-z_]+)"', (ROOT / "src/duikou" / file).read_text())
    }


@pytest.mark.parametrize("scaled", SCALED, ids=named)
def test_scaling_is_sane(scaled: dict[str, Any]) -> None:
    spec = scaled["spec"]
    (target,) = (worker for worker in WORKERS if named(worker) == spec["scaleTargetRef"]["name"])
    assert "replicas" not in target["spec"]  # else every `kubectl apply` would undo the scaling
    assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"] <= 50
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 300
    queue, tasks = (option(container(target)["args"], name) for name in ("--queues", "--concurrency"))
    by_age, by_tasks = spec["triggers"]
    assert (by_age["metricType"], by_tasks["metricType"]) == ("Value", "AverageValue")
    assert by_tasks["metadata"]["threshold"] == tasks
    for trigger, name in ((by_age, "duikou_queue_age_seconds"), (by_tasks, "duikou_tasks_running")):
        assert trigger["type"] == "prometheus"
        assert trigger["metadata"]["query"] == f'max({name}{{queue="{queue}"}})'
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        assert name in figures()


def test_all_workers_are_scaled_and_all_figures_are_read() -> None:
    assert {named(scaled) for scaled in SCALED} == {named(worker) for worker in WORKERS}
    (monitor,) = kind("PodMonitor")
    (label, value), *others = monitor["spec"]["selector"]["matchLabels"].items()
    assert not others
    ports = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    for deployment in DEPLOYMENTS:
        assert deployment["spec"]["template"]["metadata"]["labels"][label] == value
        assert ports & {port["name"] for port in container(deployment)["ports"]}


def test_every_figure_of_the_operators_page_exists_and_every_figure_is_on_it() -> None:
    told = {re.sub(r"_total$", "", name) for name in re.findall(r"`(duikou_[a-z_]+)", PAGE)}
    assert told == figures()


# --- systemd ---------------------------------------------------------------------------------------------------------

SYSTEMD = DEPLOY / "systemd"
UNITS = sorted(SYSTEMD.glob("*.service"))
SECTIONS = {"Unit", "Service", "Install"}


def unit(path: Path) -> dict[str, dict[str, list[str]]]:
    """The sections of a unit, with the values of each directive. A line that is no part of a unit fails the test."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in path.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            current = sections.setdefault(heading[1], {})
            continue
        name, value = re.fullmatch(r"([A-Z]\w+)=(.*)", line).groups()  # type: ignore[union-attr]
        current.setdefault(name, []).append(value)
    return sections


def service(path: Path) -> dict[str, str]:
    """The directives of a service that stand once."""
    return {name: values[0] for name, values in unit(path)["Service"].items() if len(values) == 1}


def test_there_is_a_unit_for_a_server_and_one_for_a_worker() -> None:
    commands = {path.stem: service(path)["ExecStart"].split()[:2] for path in UNITS}
    program = "/opt/duikou/bin/duikou"
    assert commands == {"duikou": [program, "serve"], "duikou-worker": [program, "worker"]}
    assert f"ln -s {program} " in PAGE


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_is_in_order(path: Path, tmp_path: Path) -> None:
    assert unit(path).keys() == SECTIONS
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    text = path.read_text().replace("/opt/duikou/bin/duikou", str(BIN / "python"))  # the program must be there
    (tmp_path / path.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / path.name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_again_after_a_fault_and_keeps_its_data(path: Path) -> None:
    given = service(path)
    name, *arguments = given["ExecStart"].split()[1:]
    found: Any = typer.main.get_command(app)
    found.commands[name].make_context(name, arguments)
    assert (given["Restart"], given["RestartPreventExitStatus"]) == ("on-failure", str(EXIT_INPUT))
    assert given["SuccessExitStatus"] == str(EXIT_TERMINATED)
    assert given["EnvironmentFile"] == "/etc/duikou/duikou.env"
    assert given["Environment"] == f"DUIKOU_DATA=/var/lib/{given['StateDirectory']}"
    assert given["StateDirectory"] == path.stem


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_stops_as_its_process_drains(path: Path) -> None:
    given = service(path)
    assert given["KillMode"] == "mixed", "else systemd would end the children in the middle of their tasks"
    drains = default("worker_drain_s") if path.stem == "duikou-worker" else default("drain_s") + GRACE_S
    assert drains + 30 <= int(given["TimeoutStopSec"]) <= drains + 60


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_has_no_rights_that_it_does_not_need_and_all_that_the_sandbox_needs(path: Path) -> None:
    given = service(path)
    assert given["User"] == given["Group"] == "duikou"
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectKernelTunables"):
        assert given[name] == "yes", name
    assert (given["ProtectSystem"], given["CapabilityBoundingSet"], given["UMask"]) == ("strict", "", "0077")
    # Children start through a socket of the system, generate code, and restrict themselves further.
    assert given["RestrictNamespaces"] == "user mnt ipc net"
    assert {"AF_UNIX", "AF_INET", "AF_INET6"} <= set(given["RestrictAddressFamilies"].split())
    assert not {"MemoryDenyWriteExecute", "SystemCallFilter", "ProcSubset"} & given.keys()


def test_the_settings_file_of_systemd_is_one_that_the_units_can_take() -> None:
    lines = (SYSTEMD / "duikou.env").read_text().splitlines()
    given = dict(re.findall(r"^#?([A-Z_0-9]+)=(.*)$", "\n".join(lines), re.MULTILINE))
    assert {"DUIKOU_DATABASE_URL", "DUIKOU_BROKER_URL", "DUIKOU_STORAGE_URL", "AWS_SECRET_ACCESS_KEY"} <= given.keys()
    assert not [line for line in lines if line and not line.startswith("#")], "it works as it stands, for one machine"
    values = {
        name.removeprefix("DUIKOU_").lower(): value for name, value in given.items() if name.startswith("DUIKOU_")
    }
    assert Settings(**values).broker_url.startswith("amqp://")
    assert "DUIKOU_DATA" not in given, "each unit has its own"


def test_a_child_works_without_any_right(tmp_path: Path) -> None:
    """As under a unit: no privileges, no capabilities. The sandbox needs none."""
    if shutil.which("setpriv") is None or os.getuid() != 0:
        pytest.skip("setpriv and root are needed to give up rights")
    code = (
        "from duikou.sandbox import restrictions as r, system_calls as c; "
        "print(c.available() and r.block_system_calls(), r.landlock_version() > 0)"
    )
    rights = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    found = [
        subprocess.run([*words, sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for words in ([], rights)
    ]
    assert found[0] == found[1]
