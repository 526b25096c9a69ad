"""The queues that `duikou worker --queues` names."""

from __future__ import annotations

import pytest

from duikou.errors import InputError
from duikou.tasks.states import Queue
from duikou.workers.worker import queues_of


@pytest.mark.parametrize(
    ("text", "queues"),
    [
        ("render,identify", (Queue.RENDER, Queue.IDENTIFY)),
        (" gpu , gpu", (Queue.GPU,)),
        ("analysis", (Queue.IDENTIFY,)),  # its former name
        ("identify,analysis", (Queue.IDENTIFY,)),
    ],
)
def test_queues_are_read(text: str, queues: tuple[Queue, ...]) -> None:
    assert queues_of(text) == queues


@pytest.mark.parametrize("text", ["", ",", "renders", "render,looking"])
def test_other_words_are_refused_with_the_queues_that_there_are(text: str) -> None:
    with pytest.raises(InputError, match="identify, render, gpu") as caught:
        queues_of(text)
    assert caught.value.field == "queues"
