"""Metrics of tasks: transitions are counted as they happen; the queues are read from the database on each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from duikou.errors import StorageError
from duikou.tasks.models import QueueLoad, Task
from duikou.tasks.states import Queue
from duikou.telemetry.metrics import tasks_begun, tasks_ended, tasks_handed_back, tasks_waited


def count_transition(before: Task, after: Task) -> None:
    """Count a change of status."""
    queue = str(after.queue)
    if after.finished:
        tasks_ended.labels(queue, str(after.status), after.fault or "").inc()
    elif after.attempt > before.attempt:
        tasks_begun.labels(queue).inc()
        if after.attempt == 1 and after.began_at is not None:
            tasks_waited.labels(queue).observe(max(after.began_at - after.created_at, 0) / 1000)
    else:
        tasks_handed_back.labels(queue).inc()


class QueueCollector(Collector):
    """Metrics that are queried from the database, once for each scrape."""

    def __init__(self, loads: Callable[[], dict[Queue, QueueLoad]], callbacks_waiting: Callable[[], int]) -> None:
        self._loads, self._callbacks_waiting = loads, callbacks_waiting

    def collect(self) -> Iterable[Metric]:
        """The metric families; none while the database does not answer."""
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
