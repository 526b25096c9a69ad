"""One settings class: every knob, its default and its environment variable (`DUIKOU_` and the name in capitals)."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Network = IPv4Network | IPv6Network

_NAMESERVER = re.compile(r"\[(.*)\](?::\d+)?$|^([\d.]+):\d+$")  # an address with a port


class Settings(BaseSettings):
    """All settings. Read once, at the border; rooms below take plain values."""

    model_config = SettingsConfigDict(env_prefix="DUIKOU_", frozen=True)

    host: str = Field("127.0.0.1", description="Address that the server binds to.")
    port: int = Field(8000, ge=0, le=65535, description="Port that the server binds to; 0 picks a free one.")
    data: Path = Field(Path("duikou-data"), description="Folder for the database, sessions, uploads and results.")
    database_url: str = Field(
        "", description="PostgreSQL for a fleet: postgresql+psycopg://user@host/name; empty, SQLite in the data folder."
    )
    broker_url: str = Field(
        "",
        description="RabbitMQ (amqp://) or Redis (redis://) that wakes `duikou worker`; empty, the server works.",
    )
    storage_url: str = Field(
        "",
        description="Where files stay: s3://bucket/prefix?endpoint=https://host&region=name, or file:///shared/folder; "
        "empty, the data folder.",
    )
    storage_links: Literal["streamed", "presigned"] = Field(
        "streamed",
        description="How files of an S3 storage reach callers: through the server, or by addresses of the storage.",
    )
    render_queue: Literal["render", "gpu"] = Field(
        "render", description="Queue that new tasks go to: workers of the same name take them."
    )
    public_url: str = Field("", description="Base of the URLs handed out; empty means the server's own address.")
    private_sources: Annotated[tuple[Network, ...], NoDecode] = Field(
        (), description="Private networks that the server may fetch from: comma-separated CIDRs, none by default."
    )
    nameservers: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="DNS servers that resolve the names callers send: comma-separated addresses; none, the system's.",
    )
    workers: int = Field(1, ge=1, description="Child processes that analyse and render.")
    task_timeout_s: int = Field(1800, ge=1, description="Seconds of work after which a task's worker is stopped.")
    task_cpu_s: int = Field(
        7200, ge=1, description="Seconds of processor time, of all cores together, after which a worker is stopped."
    )
    task_memory_mb: int = Field(4096, ge=512, description="Memory that one worker may take.")
    task_file_mb: int = Field(4096, ge=1, description="Size of the largest file that one worker may write.")
    identify_timeout_s: int = Field(
        180, ge=1, description="Seconds after which a worker that looks for the faces of a video is stopped."
    )
    max_video_mb: int = Field(100, ge=1, description="Largest video accepted.")
    any_size: bool = Field(
        False, description="Accept videos of any size in pixels, not only the 720p and 1080p classes."
    )
    several_faces: bool = Field(
        False, description="Accept several entries in face_choose, one for each face that is to speak."
    )
    max_audio_mb: int = Field(5, ge=1, description="Largest speech accepted.")
    fetch_timeout_s: int = Field(60, ge=1, description="Seconds that fetching one file may take in all.")
    session_hours: int = Field(24, ge=1, description="Hours that a session can be used.")
    media_days: int = Field(30, ge=1, description="Days that source and result videos are kept.")
    upload_hours: int = Field(24, ge=1, description="Hours that an upload is kept that no call uses.")
    url_hours: int = Field(
        720, ge=1, description="Hours that the address of a file works, counted from when it was told."
    )
    connections: int = Field(1000, ge=1, description="Connections that may be open at once; one more is refused.")
    requests_per_s: int = Field(50, ge=0, description="Calls that one account may make in a second; 0 is no limit.")
    tasks_at_once: int = Field(100, ge=0, description="Unfinished tasks that one account may have; 0 is no limit.")
    identify_limit: int = Field(
        8, ge=1, description="Calls of identify-face that may wait; clients give up after 30 seconds."
    )
    queue_limit: int = Field(1000, ge=0, description="Unfinished tasks that the server holds in all; 0 is no limit.")
    drain_s: int = Field(
        0, ge=0, description="Seconds after SIGTERM in which tasks in hand are finished and new work is refused."
    )
    worker_drain_s: int = Field(
        300, ge=0, description="Seconds after SIGTERM in which a worker finishes what it has in hand."
    )
    worker_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port on which a worker tells its figures (/metrics); 0 is none."
    )
    metrics_token: str = Field(
        "", description="Token that /metrics asks for (Authorization: Bearer); empty, it is open to whoever gets there."
    )
    otel_endpoint: str = Field("", description="Where traces go (OpenTelemetry, OTLP over HTTP); empty, none are made.")
    min_free_mb: int = Field(500, ge=0, description="Free disk below which no new work is taken.")
    c2pa_certificate: Path | None = Field(
        None, description="Certificate chain (PEM) that signs results; without one, a self-made certificate does."
    )
    c2pa_key: Path | None = Field(None, description="The certificate's private key (PEM, PKCS#8, not encrypted).")
    aigc_producer: str = Field("duikou", description="Name or code of the service in the AIGC label, printable ASCII.")

    @field_validator("private_sources", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
        return value

    @field_validator("nameservers", mode="before")
    @classmethod
    def _split_nameservers(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        for part in value if isinstance(value, tuple) else ():
            ip_address(_NAMESERVER.sub(r"\1\2", part))
        return value

    @field_validator("c2pa_certificate", "c2pa_key", mode="before")
    @classmethod
    def _nothing_set(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _fleet(self) -> Self:
        if self.broker_url and not self.broker_url.startswith(("amqp://", "amqps://", "redis://", "rediss://")):
            raise ValueError("broker_url must begin with amqp://, amqps://, redis:// or rediss://")
        if self.broker_url and not self.database_url:
            raise ValueError("broker_url needs a database_url: workers on other machines cannot read this one's SQLite")
        if self.database_url and not self.storage_url:
            raise ValueError("database_url needs a storage_url: others on the same database must find the files, too")
        return self

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.c2pa_certificate is None) != (self.c2pa_key is None):
            raise ValueError("c2pa_certificate and c2pa_key must be given together")
        return self
