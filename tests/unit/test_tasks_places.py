"""Who gets a place for a callback: every account, each of its receivers, and the silent ones after the others."""

from __future__ import annotations

import pytest

from duikou.tasks.places import FIRST_REST_S, LONGEST_REST_S, REMEMBERED, SILENCES, Lane, Places, lane_of


class Clock:
    """A clock that stands still until a test sets it."""

    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def fill(places: Places, lane: Lane) -> int:
    """Take every place that a lane gets; how many."""
    count = 0
    while places.take(lane):
        count += 1
    return count


def test_who_has_none_finds_a_place_however_greedy_the_others_are() -> None:
    places, taken = Places(64), dict[str, int]()
    for account in "abcdef":
        taken[account] = sum(fill(places, Lane(account, f"{number}.test:80")) for number in range(100))
        assert taken[account] >= 1
        assert places.free >= 1
    assert taken["a"] == 32, "half of them is for others, though there are none yet"
    assert fill(places, Lane("late", "late.test:80")) == 1


def test_a_share_shrinks_as_others_come_and_grows_as_they_go() -> None:
    places, one, other = Places(64), Lane("a", "a.test:80"), Lane("b", "b.test:80")
    assert fill(places, one) == 16
    assert fill(places, other) == 12
    places.give(one)
    assert not places.take(one), "the other account is there now"
    for _ in range(12):
        places.give(other)
    assert places.take(one)


def test_a_receiver_leaves_places_for_the_others_of_its_account() -> None:
    places = Places(64)
    assert [fill(places, Lane("a", f"{number}.test:80")) for number in range(4)] == [16, 8, 4, 2]
    assert places.take(Lane("a", "more.test:80"))
    assert places.has_room("b")


def test_a_receiver_that_is_silent_rests_and_then_has_one_place_until_it_answers() -> None:
    clock = Clock()
    places, silent = Places(64, clock=clock), Lane("a", "silent.test:80")
    for number in range(SILENCES):
        assert places.take(silent), f"after {number} silences"
        began, clock.s = clock.s, clock.s + 10
        places.unanswered(silent, began)
        places.give(silent)
    assert not places.take(silent)
    assert places.take(Lane("a", "other.test:80")), "only the silent one rests"
    assert places.take(Lane("b", "silent.test:80")), "and only for that account"
    clock.s += FIRST_REST_S
    assert fill(places, silent) == 1
    places.answered(silent)
    assert fill(places, silent) > 1


def test_rests_double_up_to_the_longest() -> None:
    clock = Clock()
    places, silent, rests = Places(64, clock=clock), Lane("a", "silent.test:80"), list[float]()
    for _ in range(2_000):
        places.unanswered(silent, clock.s)
        fell_silent = clock.s
        while not places.take(silent):
            clock.s += 1
        places.give(silent)
        rests.append(clock.s - fell_silent)
    assert rests[: SILENCES + 3] == [0] * (SILENCES - 1) + [FIRST_REST_S, 10, 20, 40]
    assert set(rests[SILENCES + 3 :]) == {LONGEST_REST_S}


def test_of_calls_at_the_same_time_one_silence_counts() -> None:
    clock = Clock()
    places, silent = Places(64, clock=clock), Lane("a", "silent.test:80")
    clock.s += 10
    for _ in range(16):
        places.unanswered(silent, clock.s - 10)
    assert places.take(silent)


def test_silent_receivers_are_not_remembered_without_end() -> None:
    places = Places(64)
    for number in range(REMEMBERED + 10):
        places.unanswered(Lane("a", f"{number}.test:80"), 0.0)
    assert len(places._silent) == REMEMBERED


@pytest.mark.parametrize(
    ("url", "receiver"),
    [
        ("http://Hooks.example.org/a?b", "hooks.example.org:80"),
        ("https://hooks.example.org./", "hooks.example.org:443"),
        ("https://hooks.example.org:8443/", "hooks.example.org:8443"),
        ("http://[2606:4700::1111]/", "2606:4700::1111:80"),
        ("http://a:99999/", ""),
        ("http://[/", ""),
    ],
)
def test_a_receiver_is_a_host_and_a_port(url: str, receiver: str) -> None:
    assert lane_of("a", url) == Lane("a", receiver)
