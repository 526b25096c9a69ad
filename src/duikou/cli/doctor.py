"""What this machine has of what duikou needs: the checks behind `duikou doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.codec
import onnxruntime

from duikou.errors import DuikouError
from duikou.model_files import MODELS
from duikou.provenance import credentials
from duikou.provenance.certificates import Certificate
from duikou.provenance.label import Label
from duikou.sandbox import restrictions
from duikou.settings import Settings

OLDEST_PYTHON = (3, 11)
CODECS = (("libx264", "w", "H.264 out"), ("aac", "w", "AAC out"), ("h264", "r", "H.264 in"), ("hevc", "r", "HEVC in"))
"""FFmpeg's name, `r` to decode or `w` to encode, and what it is for."""
REINSTALL_MEDIA = f"{sys.executable} -m pip install --force-reinstall av"
MIB = 1 << 20


@dataclass(frozen=True)
class Check:
    """One thing looked at: whether it is as needed, what was found, and the remedy where it is not."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def examine(settings: Settings) -> tuple[Check, ...]:
    """Look at everything. Nothing raises: a fault is a check that is not ok."""
    found = (_python(), *_codecs(), *_models(), _disk(settings), _signature(settings))
    return (*found, _confinement(), _cores(), _devices())


def _python() -> Check:
    ok = sys.version_info >= OLDEST_PYTHON
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Check(
        "Python", ok, f"{platform.python_version()} on {platform.platform()}", "" if ok else f"use {oldest} or later"
    )


def _codecs() -> Iterator[Check]:
    versions = getattr(av, "ffmpeg_version_info", "unknown")
    for name, mode, purpose in CODECS:
        try:
            av.codec.Codec(name, "w" if mode == "w" else "r")
        except ValueError:  # av.codec.codec.UnknownCodecError
            yield Check(purpose, False, f"PyAV {av.__version__} has no {name}", REINSTALL_MEDIA)
        else:
            yield Check(purpose, True, f"{name} of FFmpeg {versions} in PyAV {av.__version__}")


def _models() -> Iterator[Check]:
    for model in MODELS:
        state = model.state()
        found = f"{state}, {model.licence}, SHA-256 {model.sha256[:16]}..., {model.requirement}"
        yield Check(model.name, state == "ok", found, "" if state == "ok" else model.command)


def _disk(settings: Settings) -> Check:
    folder = settings.data.absolute()
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free // MIB
    ok = free >= settings.min_free_mb
    remedy = "" if ok else f"free {settings.min_free_mb - free} MiB or set DUIKOU_DATA to another disk"
    return Check("disk", ok, f"{free} MiB free at {folder}, {settings.min_free_mb} needed", remedy)


def _signature(settings: Settings) -> Check:
    name, chain, key = "signature", settings.c2pa_certificate, settings.c2pa_key
    try:
        Label.first(settings.aigc_producer, "trial")
        if chain is None or key is None:
            return Check(name, True, "a self-made certificate, made when it is first needed")
        credentials.check(Certificate(chain, key))
    except DuikouError as error:
        return Check(name, False, str(error), "set DUIKOU_C2PA_CERTIFICATE, DUIKOU_C2PA_KEY and DUIKOU_AIGC_PRODUCER")
    return Check(name, True, f"the certificate in {chain}")


def _confinement() -> Check:
    """Whether what decodes strangers' files can be kept from network and files; a server runs without it as well."""
    calls = (
        "have no network and start no programs (seccomp)" if restrictions.seccomp_available() else "reach the network"
    )
    version = restrictions.landlock_version()
    files = f"see only a job's own files (Landlock {version})" if version else "see all of this user's files"
    return Check("workers", True, f"{calls}; {files}")


def _cores() -> Check:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("cores", True, f"{usable} usable of {os.cpu_count()}")


def _devices() -> Check:
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    graphics = " and an NVIDIA device" if Path("/dev/nvidia0").exists() else ""
    return Check("devices", True, f"ONNX Runtime on {providers}{graphics}; the native engine needs the CPU only")
