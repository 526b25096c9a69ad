"""Metrics of this process for Prometheus. Events are counted where they happen: with the change of status.

Metrics of the whole fleet (queues, waiting callbacks) are read from the database when Prometheus asks.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

STAGES = 32  # distinct stage names: they come from children, which could make up any number
STAGE_S = (
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    20,
    40,
    80,
    160,
    320,
    640,
    1280,
)  # bucket bounds, from reading headers to long renders

registry = CollectorRegistry()
ProcessCollector(registry=registry)
tasks_ended = Counter("duikou_tasks_ended", "Tasks that ended here.", ["queue", "status", "fault"], registry=registry)
tasks_begun = Counter("duikou_tasks_begun", "Attempts that began here.", ["queue"], registry=registry)
tasks_handed_back = Counter(
    "duikou_tasks_handed_back", "Attempts that ended while their task goes on.", ["queue"], registry=registry
)
tasks_waited = Histogram(
    "duikou_task_wait_seconds",
    "From a task's creation to its first attempt.",
    ["queue"],
    buckets=STAGE_S,
    registry=registry,
)
stage_seconds = Histogram(
    "duikou_stage_seconds", "Time that tasks spent in each stage.", ["stage"], buckets=STAGE_S, registry=registry
)
in_hand = Gauge("duikou_in_hand", "Tasks that this process is running.", registry=registry)
sessions_made = Counter(
    "duikou_sessions",
    "Sessions by how their faces were found: analysed, shared with an equal call, or kept from an earlier one.",
    ["how"],
    registry=registry,
)
answers = Counter(
    "duikou_answers", "Answers of the HTTP interface by code of the contract.", ["code"], registry=registry
)
request_seconds = Histogram(
    "duikou_request_seconds", "Time to answer a call, by route.", ["route"], buckets=STAGE_S, registry=registry
)
callbacks = Counter("duikou_callbacks", "Tries to deliver a callback, by outcome.", ["outcome"], registry=registry)
swept = Counter("duikou_swept", "Expired items that were removed.", ["kind"], registry=registry)
uploads_removed = Counter(
    "duikou_uploads_removed",
    "Unused uploads that were removed before their time: for the account's limit, or for a disk that is nearly full.",
    ["why"],
    registry=registry,
)
_stages: set[str] = set()


def observe_stage(stage: str, seconds: float) -> None:
    """Count the time that a task spent in a stage."""
    if len(_stages) < STAGES:
        _stages.add(stage)
    stage_seconds.labels(stage if stage in _stages else "other").observe(seconds)


def exposition(fleet: Collector) -> bytes:
    """All metrics, with those of the fleet, in Prometheus' text format 0.0.4."""
    shared = CollectorRegistry()
    shared.register(fleet)
    return generate_latest(registry) + generate_latest(shared)
