"""The AIGC label as GB 45438-2025, annex E, writes it."""

from __future__ import annotations

import json

import pytest

from duikou.errors import InputError
from duikou.provenance.label import Label


def test_a_first_label_names_the_producer_as_spreading_it_too() -> None:
    (name, text), *rest = Label.first("duikou", "task-7").tags.items()
    assert (name, rest) == ("AIGC", [])
    assert text == (
        '{"Label":"1","ContentProducer":"duikou","ProduceID":"task-7","ReservedCode1":"",'
        '"ContentPropagator":"duikou","PropagateID":"task-7","ReservedCode2":""}'
    )


def test_a_label_is_read_back() -> None:
    label = Label.first("001191110108000000000C10100", "x!#[]~")
    assert Label.parse(label.tags["AIGC"]) == label


def test_labels_of_others_are_read_too() -> None:
    inside = Label.parse('{"AIGC": {"Label": 2, "ContentProducer": "other", "ReservedCode1": null}}')
    assert inside == Label("2", "other", "", "", "", "", "")
    assert inside.elements["ContentProducer"] == "other"


@pytest.mark.parametrize("text", ["", "AIGC", "[]", "7", '{"AIGC": 1}', '{"ContentProducer": "x"}', "{"])
def test_what_is_no_label_is_none(text: str) -> None:
    assert Label.parse(text) is None


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "a\\b", "对口", "a\n", "\x7f"])
def test_a_name_that_the_standard_cannot_write_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="printable ASCII") as caught:
        Label.first(name, "1")
    assert caught.value.field == "producer"


def test_the_elements_stand_in_the_standards_order() -> None:
    assert list(json.loads(Label.first("a", "b").tags["AIGC"])) == [
        "Label",
        "ContentProducer",
        "ProduceID",
        "ReservedCode1",
        "ContentPropagator",
        "PropagateID",
        "ReservedCode2",
    ]
