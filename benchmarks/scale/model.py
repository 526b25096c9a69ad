"""What a day's tasks ask of workers, servers, database, broker and storage: plain arithmetic, units in the names.

Counts of transactions and requests are those of the code; `tests/integration/test_scale.py` compares what a task costs
the database here with what it costs a real one. `docs/scale.md` shows the results.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.scale.paces import PACES
from duikou.tasks.retention import AT_ONCE
from duikou.tasks.stalled import CHECK_EVERY_S
from duikou.tasks.waiting import POLL_S
from duikou.workers.celery_app import RESEND_EVERY_S
from duikou.workers.executor import SHARED_HEARTBEAT_S

DAY_S = 86_400
COURIER_EVERY_S = 0.5  # `duikou.tasks.webhooks` looks for callbacks so often
SCRAPE_EVERY_S = 15  # Prometheus, each server

GATE = 2  # transactions that tell whose call it is: whether there are keys, and whose this one is
SUBMIT = 5  # the same task? the session, room, the row with its turn, the place in the queue
IDENTIFY = 6  # room, the video, the row, how it ended, the session, and whether an older task has the id
CLAIM = 2  # a look without a lock, then the compare-and-set
SOURCE = 1  # the worker looks the video up
PUBLISH = 1
POLL = 1  # and one more while the task waits
LINK = 1  # a result's address is looked up
TOLD = 3  # a callback: held, signed with the account's secret, taken out
CHANGES = 3  # that a callback tells of: submitted, processing, succeed
STAGES = 5  # of a lip sync, each written at its beginning
SCRAPE = 2  # queues, and callbacks that wait
SWEPT = 4  # a task, its search, the session and the video are dropped one by one

SESSION_FILES = 4  # picture, track, usable frames and description of one face
WRITES = 3 + SESSION_FILES  # to the storage: video, speech, result
READS = 2 * (SESSION_FILES + 2 + 2 + 2)  # nearly: each file is asked for its size and then fetched; the video twice
REMOVALS = (2 + SESSION_FILES) + (2 + 2) + 2  # a session's, a task's and a video's files: delete, list, delete each

TASK_BYTES, MEDIA_BYTES = 850, 250  # of a row with its indexes, as measured with a million of them
MEDIA_A_TASK = 2  # the video and the result
SOUND_MB = 0.1
RETENTION_DAYS = 30


@dataclass(frozen=True)
class Demand:
    """What is asked for.

    pace: seconds of work of one worker (two cores) for each second of video; look_pace: the same of finding faces.
    Both from `make bench`, see `paces`: those of 1080p here. poll_every_s: how often a client asks for its task.
    """

    tasks_per_day: float
    peak_factor: float = 3.0
    video_s: float = 10.0
    video_mb: float = 7.5
    pace: float = PACES["1080p"].render
    look_pace: float = PACES["1080p"].identify
    poll_every_s: float = 5.0
    callback_share: float = 0.5

    @property
    def average_per_s(self) -> float:
        """Tasks in a second, over the day."""
        return self.tasks_per_day / DAY_S

    @property
    def peak_per_s(self) -> float:
        """Tasks in a second, in the day's worst hour."""
        return self.average_per_s * self.peak_factor


@dataclass(frozen=True)
class Capacity:
    """What one of each part bears, as measured.

    use: share of the time that workers are meant to be busy. server_use: the same of a server, which is one core.
    post_ms, poll_ms: processor time of a server for a call that takes a file, and for one that asks. server_mb_per_s:
    of its network. transaction_ms: processor time of PostgreSQL. request_s: of one request to the storage.
    """

    use: float = 0.8
    server_use: float = 0.6
    post_ms: float = 45.0
    poll_ms: float = 4.0
    server_mb_per_s: float = 100.0
    transaction_ms: float = 0.6
    request_s: float = 0.02


@dataclass(frozen=True)
class Load:
    """What the demand comes to, at the peak unless the name says otherwise."""

    tasks_per_s: float
    render_workers: int
    identify_workers: int
    calls_per_s: float
    servers: int
    transactions_per_s: dict[str, float]
    database_cores: float
    messages_per_s: float
    storage_requests_per_s: float
    storage_in_mb_per_s: float
    storage_out_mb_per_s: float
    database_rows: float
    database_gb: float
    storage_tb: float
    sweep_share: float

    @property
    def all_transactions_per_s(self) -> float:
        """Of every kind."""
        return sum(self.transactions_per_s.values())


def load(demand: Demand, capacity: Capacity | None = None) -> Load:
    """The load at the peak; rows and bytes of `RETENTION_DAYS`. sweep_share: of the day that the one sweeper needs."""
    capacity = capacity or Capacity()
    rate = demand.peak_per_s
    render_s, look_s = demand.pace * demand.video_s, demand.look_pace * demand.video_s
    render, look = math.ceil(rate * render_s / capacity.use), math.ceil(rate * look_s / capacity.use)
    polls = render_s / demand.poll_every_s
    calls = rate * (2 + polls + 1)  # find the faces, submit, ask, fetch the result
    ingress = rate * (demand.video_mb + SOUND_MB)
    server_cores = rate * (2 * capacity.post_ms + (polls + 1) * capacity.poll_ms) / 1000
    by_network = ingress / capacity.server_mb_per_s
    servers = max(math.ceil(server_cores / capacity.server_use), math.ceil(by_network), 2)
    busy = rate * (render_s + look_s)
    transactions = {
        "identify": rate * (GATE + IDENTIFY + CLAIM + SOURCE + PUBLISH),
        "awaiting faces": servers * min(1.0, rate * look_s / servers) / POLL_S,
        "submit": rate * (GATE + SUBMIT),
        "claim and publish": rate * (CLAIM + SOURCE + PUBLISH),
        "beats": busy / SHARED_HEARTBEAT_S + rate * STAGES,
        "polls": rate * polls * (GATE + POLL),
        "results": rate * LINK,
        "callbacks": rate * demand.callback_share * CHANGES * TOLD + servers / COURIER_EVERY_S,
        "watch": servers * (1 / CHECK_EVERY_S + 1 / RESEND_EVERY_S),
        "figures": servers * SCRAPE / SCRAPE_EVERY_S,
        "sweep": demand.average_per_s * SWEPT,
    }
    kept = demand.tasks_per_day * RETENTION_DAYS
    row_bytes = TASK_BYTES + MEDIA_A_TASK * MEDIA_BYTES
    return Load(
        tasks_per_s=rate,
        render_workers=render,
        identify_workers=look,
        calls_per_s=calls,
        servers=servers,
        transactions_per_s=transactions,
        database_cores=sum(transactions.values()) * capacity.transaction_ms / 1000,
        messages_per_s=2 * rate,
        storage_requests_per_s=rate * (WRITES + READS) + demand.average_per_s * REMOVALS,
        storage_in_mb_per_s=rate * (2 * demand.video_mb + SOUND_MB),
        storage_out_mb_per_s=rate * (3 * demand.video_mb + SOUND_MB),
        database_rows=kept * (1 + MEDIA_A_TASK),
        database_gb=kept * row_bytes / 1e9,
        storage_tb=kept * (2 * demand.video_mb + SOUND_MB) / 1e6,
        sweep_share=demand.average_per_s * REMOVALS * capacity.request_s / AT_ONCE,
    )


def collisions_per_day(inserts_per_s: float) -> float:
    """How often two ids of one table meet: a millisecond and six random digits, which two need to share."""
    pairs_per_s = inserts_per_s**2 / 2 / 1000
    return pairs_per_s / 1e6 * DAY_S
