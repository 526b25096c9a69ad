"""All settings, their defaults and their environment variables (`DUIKOU_` and the name in capitals)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import unquote

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Network = IPv4Network | IPv6Network

PREFIX = "DUIKOU_"
AWS_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
SHORTEST_SECRET = 8  # characters; removing a shorter text from every line would make lines unreadable
OTHERS = ("DEBUG", "SERVER", "KEY")  # variables of the command line with the same prefix that are no settings
_SECRET_OPTION = re.compile("pass|secret|key|token|auth|signature", re.IGNORECASE)
_NAMESERVER = re.compile(r"\[(.*)\](?::\d+)?$|^([\d.]+):\d+$")  # an address with a port

_ORIGIN = re.compile(r"(https?)://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?/?")


def _origin(text: str) -> str:
    """An origin as browsers send it. Raises `ValueError`."""
    found = _ORIGIN.fullmatch(text.lower())
    if found is None or not 0 < int(found[3] or 1) < 65536:
        raise ValueError("each entry must be an origin such as https://app.example.com")
    scheme, host, port = found.groups()
    usual = {"http": "80", "https": "443"}[scheme]
    return f"{scheme}://{host}" + (f":{int(port)}" if port and int(port) != int(usual) else "")


class Settings(BaseSettings):
    """All settings. The command line and the server read them once; lower layers take plain values.

    Values may be secret: errors name the setting and never show its value.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address that the server binds to.")
    port: int = Field(8000, ge=0, le=65535, description="Port that the server binds to; 0 picks a free one.")
    data: Path = Field(Path("duikou-data"), description="Folder for the database, sessions, uploads and results.")
    database_url: str = Field(
        "",
        description="PostgreSQL for a fleet: postgresql+psycopg://user@host/name; empty means SQLite in the data "
        "folder.",
    )
    broker_url: str = Field(
        "",
        description="RabbitMQ (amqp://) or Redis (redis://) that wakes `duikou worker`; empty means that the server "
        "runs the tasks.",
    )
    storage_url: str = Field(
        "",
        description="Where files are stored: s3://bucket/prefix?endpoint=https://host&region=name, or "
        "file:///shared/folder; empty means the data folder.",
    )
    storage_links: Literal["streamed", "presigned"] = Field(
        "streamed",
        description="How callers get files from S3: through the server, or by presigned URLs of the storage.",
    )
    render_queue: Literal["render", "gpu"] = Field(
        "render", description="Queue for new render tasks; workers that serve this queue run them."
    )
    public_url: str = Field(
        "", description="Base of the URLs in answers; empty means the host and scheme of each request."
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        (),
        description="Networks of proxies whose X-Forwarded-Host, -Proto, -Port and -Prefix or Forwarded headers count: "
        "comma-separated CIDRs; empty means none.",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins of other sites whose pages may call this server: comma-separated, such as "
        "https://app.example.com; empty means none.",
    )
    private_sources: Annotated[tuple[Network, ...], NoDecode] = Field(
        (), description="Private networks that the server may fetch from: comma-separated CIDRs; empty means none."
    )
    nameservers: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="DNS servers for the host names that callers send: comma-separated addresses; empty means the "
        "system's.",
    )
    workers: int = Field(1, ge=1, description="Child processes that identify faces and render.")
    worker_cores: int = Field(
        0, ge=0, description="Cores that one render uses; 0 shares all cores equally among the workers."
    )
    task_timeout_s: int = Field(1800, ge=1, description="Seconds of work after which a task's worker is stopped.")
    task_cpu_s: int = Field(
        7200, ge=1, description="Seconds of processor time, summed over all cores, after which a worker is stopped."
    )
    task_memory_mb: int = Field(4096, ge=512, description="Memory limit of one worker, in MiB.")
    task_file_mb: int = Field(4096, ge=1, description="Largest file that one worker may write, in MiB.")
    identify_timeout_s: int = Field(
        180, ge=1, description="Seconds after which a worker that identifies the faces of a video is stopped."
    )
    render_niceness: int = Field(
        10,
        ge=0,
        le=19,
        description="How far renders step back for other work on the machine, such as searches for faces: their "
        "niceness. 0 is not at all.",
    )
    max_video_mb: int = Field(100, ge=1, description="Largest accepted video or photo, in MiB.")
    any_size: bool = Field(
        False, description="Accept videos of any size in pixels, not only the 720p and 1080p classes."
    )
    several_faces: bool = Field(
        True, description="Accept several entries in face_choose; `False` restricts a task to one, as Kling does."
    )
    max_audio_mb: int = Field(5, ge=1, description="Largest accepted audio file, in MiB.")
    fetch_timeout_s: int = Field(60, ge=1, description="Seconds after which fetching one file is given up.")
    session_hours: int = Field(24, ge=1, description="Hours that a session stays valid.")
    media_days: int = Field(30, ge=1, description="Days that source and result videos are kept.")
    upload_hours: int = Field(24, ge=1, description="Hours that an unused upload is kept.")
    url_hours: int = Field(720, ge=1, description="Hours that the URL of a file stays valid after it was issued.")
    connections: int = Field(1000, ge=1, description="Maximum number of open connections; further ones are refused.")
    requests_per_s: int = Field(
        50, ge=0, description="Requests that one account may make per second; 0 means no limit."
    )
    tasks_at_once: int = Field(100, ge=0, description="Unfinished tasks that one account may have; 0 means no limit.")
    events_at_once: int = Field(
        100, ge=0, description="Streams of events that one account may have open at a server; 0 means no limit."
    )
    uploads_at_once: int = Field(
        8, ge=0, description="Uploads that one account may have under way at a server; 0 means no limit."
    )
    unused_mb: int = Field(
        2000,
        ge=0,
        description="MiB of uploads that no call has used yet and that one account may store: for a new one its oldest "
        "go; 0 means no limit.",
    )
    account_mb: int = Field(
        0,
        ge=0,
        description="MiB that one account may store: uploads, videos, speech, sessions and results; 0 means no limit "
        "but the disk.",
    )
    identify_limit: int = Field(
        8, ge=1, description="Searches for faces of one account that may wait; clients give up after 30 seconds."
    )
    calls_at_once: int = Field(
        50,
        ge=0,
        description="Calls of one account that may fetch files or find faces at the same time, at one server; 0 means "
        "no limit.",
    )
    queue_limit: int = Field(
        1000,
        ge=0,
        description="Unfinished tasks that the server accepts in total, and as many searches for faces that wait; 0 "
        "means no limit.",
    )
    drain_s: int = Field(
        0,
        ge=0,
        description="Seconds after SIGTERM in which the server finishes its running tasks and refuses new work.",
    )
    worker_drain_s: int = Field(
        300, ge=0, description="Seconds after SIGTERM in which a worker finishes its running tasks."
    )
    worker_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port on which a worker serves Prometheus metrics (/metrics); 0 means none."
    )
    metrics_token: str = Field(
        "",
        description="Token that /metrics requires (Authorization: Bearer); empty means that anyone who reaches "
        "it may read it.",
    )
    otel_endpoint: str = Field(
        "", description="Where traces are sent (OpenTelemetry, OTLP over HTTP); empty means no traces."
    )
    min_free_mb: int = Field(500, ge=0, description="Free disk space, in MiB, below which new work is refused.")
    c2pa_certificate: Path | None = Field(
        None, description="Certificate chain (PEM) that signs results; empty means a self-signed certificate."
    )
    c2pa_key: Path | None = Field(None, description="The certificate's private key (PEM, PKCS#8, not encrypted).")
    aigc_producer: str = Field("duikou", description="Name or code of the service in the AIGC label, printable ASCII.")
    encoder: Literal["x264", "nvenc", "videotoolbox", "vaapi"] = Field(
        "x264",
        description="Who encodes for `duikou sync` and `duikou batch`: x264, or hardware, if the machine has it. "
        "Servers and workers take only x264.",
    )
    face_device: Literal["cpu", "auto"] = Field(
        "cpu",
        description="Where `duikou sync` and `duikou batch` run the face networks: cpu, or auto: on a GPU, if there is "
        "one that is faster and gives the same answers. Servers and workers use only the CPU.",
    )

    @field_validator("private_sources", "trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
        except ValueError:
            raise ValueError("must be networks such as 10.1.0.0/16, separated by commas") from None

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        return tuple(_origin(part) for part in value) if isinstance(value, tuple) else value

    @field_validator("nameservers", mode="before")
    @classmethod
    def _split_nameservers(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        try:
            for part in value if isinstance(value, tuple) else ():
                ip_address(_NAMESERVER.sub(r"\1\2", part))
        except ValueError:
            raise ValueError("must be addresses such as 9.9.9.9 or 9.9.9.9:53, separated by commas") from None
        return value

    @field_validator("c2pa_certificate", "c2pa_key", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _check_fleet(self) -> Self:
        if self.broker_url and not self.broker_url.startswith(("amqp://", "amqps://", "redis://", "rediss://")):
            raise ValueError("DUIKOU_BROKER_URL must begin with amqp://, amqps://, redis:// or rediss://")
        if self.broker_url and not self.database_url:
            raise ValueError(
                "DUIKOU_DATABASE_URL is missing: DUIKOU_BROKER_URL is set, and other machines cannot read this one's "
                "SQLite database"
            )
        if self.database_url and not self.storage_url:
            raise ValueError(
                "DUIKOU_STORAGE_URL is missing: DUIKOU_DATABASE_URL is set, and every server on that database must "
                "find the same files"
            )
        return self

    @model_validator(mode="after")
    def _check_certificate(self) -> Self:
        if (self.c2pa_certificate is None) != (self.c2pa_key is None):
            raise ValueError("DUIKOU_C2PA_CERTIFICATE and DUIKOU_C2PA_KEY must be set together")
        return self

    def secrets(self) -> frozenset[str]:
        """Texts that must show nowhere: passwords and tokens, also as parts of addresses, and those of AWS."""
        urls = (self.database_url, self.broker_url, self.storage_url, self.otel_endpoint, self.public_url)
        given = {self.metrics_token, *urls, *(os.environ.get(name, "") for name in AWS_SECRETS)}
        for url in urls:
            given |= _credentials(url)
        return frozenset(text for text in given if len(text) >= SHORTEST_SECRET)


def _credentials(url: str) -> set[str]:
    """User and password of an address, the password alone, and secret values of its query."""
    address, _, query = url.partition("?")
    found = {pair.partition("=")[2] for pair in query.split("&") if _SECRET_OPTION.search(pair.partition("=")[0])}
    login, at, _ = address.partition("://")[2].rpartition("@")
    if at:
        found |= {login, login.partition(":")[2]}
    return found | {unquote(text) for text in found}


def misspelt(environment: Iterable[str]) -> list[str]:
    """A sentence for each variable of the environment that looks like a setting and is none.

    environment: names of variables.
    """
    known = [f"{PREFIX}{name.upper()}" for name in (*Settings.model_fields, *OTHERS)]
    found = []
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = get_close_matches(name.upper(), known, 1)
            found.append(f"there is no setting {name}" + (f"; did you mean {near[0]}?" if near else ""))
    return found
