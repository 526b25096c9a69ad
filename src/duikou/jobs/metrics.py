"""Figures of this process for Prometheus. What is counted is counted where it happens: with the change of status.

What a whole fleet holds (queues, callbacks that wait) comes from the database when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from duikou.errors import StorageError

if TYPE_CHECKING:
    from duikou.jobs.state import Queue, Task
    from duikou.jobs.store import Load

STAGES = 32  # names of stages that are told apart: they come from children, which could make up any number
STAGE_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280)  # bounds: 0.1 s of headers to long renders

registry = CollectorRegistry()
ProcessCollector(registry=registry)
tasks_ended = Counter("duikou_tasks_ended", "Tasks that ended here.", ["queue", "status", "fault"], registry=registry)
tasks_begun = Counter("duikou_tasks_begun", "Attempts that began here.", ["queue"], registry=registry)
tasks_handed_back = Counter(
    "duikou_tasks_handed_back", "Attempts that ended without an end of their task.", ["queue"], registry=registry
)
tasks_waited = Histogram(
    "duikou_task_wait_seconds",
    "From a task's making to its first attempt.",
    ["queue"],
    buckets=STAGE_S,
    registry=registry,
)
stage_seconds = Histogram(
    "duikou_stage_seconds", "Time that tasks spent in each stage.", ["stage"], buckets=STAGE_S, registry=registry
)
in_hand = Gauge("duikou_in_hand", "Tasks that this process has in hand.", registry=registry)
answers = Counter(
    "duikou_answers", "Answers of the HTTP interface by code of the contract.", ["code"], registry=registry
)
request_seconds = Histogram(
    "duikou_request_seconds", "Time to answer a call, by route.", ["route"], buckets=STAGE_S, registry=registry
)
callbacks = Counter("duikou_callbacks", "Tries to deliver a callback, by outcome.", ["outcome"], registry=registry)
swept = Counter("duikou_swept", "What was forgotten because it was over.", ["kind"], registry=registry)
_stages: set[str] = set()


def staged(stage: str, seconds: float) -> None:
    """Count the time that a task spent in a stage."""
    if len(_stages) < STAGES:
        _stages.add(stage)
    stage_seconds.labels(stage if stage in _stages else "other").observe(seconds)


def moved(before: Task, after: Task) -> None:
    """Count a change of a task's status."""
    queue = str(after.queue)
    if after.finished:
        tasks_ended.labels(queue, str(after.status), after.fault).inc()
    elif after.attempt > before.attempt:
        tasks_begun.labels(queue).inc()
        if after.attempt == 1:
            tasks_waited.labels(queue).observe(max(after.began_at - after.created_at, 0) / 1000)
    else:
        tasks_handed_back.labels(queue).inc()


class Fleet(Collector):
    """What the database holds: asked once for each time that the figures are."""

    def __init__(self, loads: Callable[[], dict[Queue, Load]], callbacks_waiting: Callable[[], int]) -> None:
        self._loads, self._callbacks_waiting = loads, callbacks_waiting

    def collect(self) -> Iterable[Metric]:
        """The families of figures; none where the database does not answer."""
        try:
            loads, waits = self._loads(), self._callbacks_waiting()
        except StorageError:
            return
        depth = GaugeMetricFamily("duikou_queue_depth", "Tasks that wait.", labels=["queue"])
        age = GaugeMetricFamily("duikou_queue_age_seconds", "Age of the oldest task that waits.", labels=["queue"])
        running = GaugeMetricFamily("duikou_tasks_running", "Tasks in hand, anywhere.", labels=["queue"])
        for queue, load in loads.items():
            depth.add_metric([str(queue)], load.waiting)
            age.add_metric([str(queue)], load.age_ms / 1000)
            running.add_metric([str(queue)], load.running)
        waiting = GaugeMetricFamily("duikou_callbacks_waiting", "Callbacks that are still to be delivered.")
        waiting.add_metric([], waits)
        yield from (depth, age, running, waiting)


def text(fleet: Fleet) -> bytes:
    """All figures in Prometheus' text format 0.0.4."""
    shared = CollectorRegistry()
    shared.register(fleet)
    return generate_latest(registry) + generate_latest(shared)
