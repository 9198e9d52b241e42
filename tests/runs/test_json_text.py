"""Numbers that JSON has no word for go through files of JSON all the same."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_hub.store import serialization
from training_hub.store.events import EventLog, read_events

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
WORDS = {"NaN", "Infinity", "-Infinity"}


def refuse(word):
    raise ValueError(f"strict JSON has no {word}")


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


def holds_a_word(value):
    if isinstance(value, dict):
        return any(holds_a_word(entry) for entry in value.values())
    return any(map(holds_a_word, value)) if isinstance(value, list) else value in WORDS


@given(st.dictionaries(st.text(), VALUES).filter(lambda value: not holds_a_word(value)))
def test_what_is_written_is_strict_json_and_reads_back(value):
    text = serialization.dumps(value)
    json.loads(text, parse_constant=refuse)
    assert same(serialization.loads(text), value)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_an_event_with_a_loss_that_is_no_number_is_a_line_of_strict_json(tmp_path, loss):
    EventLog(tmp_path / "events.jsonl").emit("step", step=1, loss=loss, framework={"loss": loss})
    [line] = (tmp_path / "events.jsonl").read_text().splitlines()
    json.loads(line, parse_constant=refuse)
    [event] = read_events(tmp_path / "events.jsonl")
    assert same([event["loss"], event["framework"]["loss"]], [loss, loss])


def test_what_a_model_said_stays_a_text(tmp_path):
    said = [{"prompt": "0/0?", "completion": "NaN"}]
    EventLog(tmp_path / "events.jsonl").emit("samples", step=1, samples=said)
    [event] = read_events(tmp_path / "events.jsonl")
    assert event["samples"] == said
