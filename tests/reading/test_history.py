"""What a stream of events comes to."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_hub.errors import RunFormatError
from training_hub.reading.history import History, fold, points
from training_hub.store.events import EventLog, Tail, live_events, read_events


def step(n: int, at: float = 0.0, **fields: Any) -> dict[str, Any]:
    return {"event": "step", "time": at, "step": n, "max_steps": 9, "loss": float(n)} | fields


def naive(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What counts, found by looking at every later start for every event."""
    kept = []
    for index, event in enumerate(events):
        later = [e["resumed_from"] for e in events[index + 1 :] if e["event"] == "start" and "resumed_from" in e]
        gone = bool(later) and (event["event"] in ("stop", "fail", "end") or event.get("step", 0) > min(later))
        if not gone:
            kept.append(event)
    return {
        "steps": [(e["step"], e["loss"]) for e in kept if e["event"] == "step" and "loss" in e],
        "evaluations": [(e["step"], e["validation_loss"]) for e in kept if e["event"] == "eval"],
        "saves": [e["step"] for e in kept if e["event"] == "save"],
        "warnings": {e["message"] for e in kept if e["event"] == "warning"},
        "endings": [e["event"] for e in kept if e["event"] in ("stop", "fail", "end")],
    }


def told(history: History) -> dict[str, Any]:
    return {
        "steps": list(points(history.steps, "loss", "steps")),
        "evaluations": list(points(history.evaluations, "validation_loss", "steps")),
        "saves": [event["step"] for event in history.saves],
        "warnings": set(history.warnings),
        "endings": [event["event"] for event in history.endings],
    }


SMALL = st.integers(0, 6)
EVENTS = st.one_of(
    st.builds(lambda n, loss: {"event": "step", "step": n, "loss": loss}, SMALL, st.integers(0, 99)),
    st.builds(lambda n: {"event": "step", "step": n}, SMALL),
    st.builds(lambda n, loss: {"event": "eval", "step": n, "validation_loss": loss}, SMALL, st.integers(0, 99)),
    st.builds(lambda n: {"event": "save", "step": n, "checkpoint": 'a {"event": "step"} "directory"'}, SMALL),
    st.builds(lambda n, m: {"event": "warning", "message": m} | n, st.sampled_from([{}, {"step": 4}]), st.text()),
    st.builds(lambda n: {"event": "start", "resumed_from": n}, SMALL),
    st.builds(lambda kind: {"event": kind, "message": "m"}, st.sampled_from(["stop", "fail", "end", "start", "new"])),
)


@given(st.lists(st.tuples(EVENTS, st.booleans(), st.floats(0.01, 0.99)), max_size=25), st.booleans())
def test_torn_lines_and_resumptions_in_any_order(parts: list[Any], mended: bool) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "events.jsonl"
        log = EventLog(path)
        whole = []
        for event, torn, share in parts:
            log.emit(**event)
            if torn:
                content = path.read_bytes()
                begin = content[:-1].rfind(b"\n") + 1
                kept = max(1, int(share * (len(content) - begin - 2)))
                # What goes on after a crash stands on a line of its own, or on what is left of the torn one.
                path.write_bytes(content[: begin + kept] + (b"\n" if mended else b""))
            else:
                whole.append(event)
        expected = naive(whole)
        read = list(read_events(path))
        assert told(fold(read)) == expected
        assert told(fold(live_events(read))) == expected
        tail = Tail(path)
        tail.BLOCK = 7
        assert told(fold(tail.new())) == expected
        assert list(tail.new()) == []


def test_a_line_under_way_is_read_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    assert list(tail.new()) == []
    line = json.dumps({"event": "warning", "message": "ä"}, ensure_ascii=False).encode() + b"\n"
    for end in range(len(line)):
        path.write_bytes(line[:end])
        assert list(tail.new()) == []
    path.write_bytes(line)
    assert [event["message"] for event in tail.new()] == ["ä"]
    path.write_bytes(line + line)
    assert len(list(tail.new())) == 1


def test_another_stream_in_the_same_place_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log, tail = EventLog(path), Tail(path)
    log.emit("warning", message="old")
    assert not tail.replaced()
    list(tail.new())
    path.rename(tmp_path / "kept")
    log.emit("warning", message="new")
    assert tail.replaced()
    assert [event["message"] for event in tail.new()] == ["new"]


@pytest.mark.parametrize("jump", [-50_000.0, 1.7e9])
def test_a_clock_that_jumps_adds_no_time(jump: float) -> None:
    history = fold([step(1, 100), step(2, 110), step(3, 120 + jump), step(4, 130 + jump)])
    assert list(history.steps["seconds"]) == [0, 10, 10, 20]


def test_the_pause_before_a_resumption_is_no_training_time() -> None:
    start = {"event": "start", "time": 5000.0, "resumed_from": 2}
    history = fold([step(1, 100), step(2, 110), step(3, 120), start, step(3, 5007), step(4, 5017)])
    assert list(points(history.steps, "loss", "seconds")) == [(0, 1), (10, 2), (17, 3), (27, 4)]
    assert history.resumptions() == [2]
    assert history.reached == 4


def test_steps_without_figures_count_as_reached() -> None:
    history = fold([step(1), {"event": "step", "step": 2, "max_steps": 9}])
    assert (list(history.steps.steps), history.reached, history.max_steps) == ([1], 2, 9)


def test_losses_that_are_no_numbers_are_kept_and_are_not_the_best() -> None:
    evaluations = [{"event": "eval", "step": n, "validation_loss": v} for n, v in ((1, math.nan), (2, 2.0), (3, 3.0))]
    history = fold([step(1, loss=math.nan), *evaluations])
    assert math.isnan(history.steps["loss"][0])
    assert history.best_validation() == (2, 2.0)


def test_a_warning_that_comes_again_is_counted() -> None:
    history = fold([{"event": "warning", "message": "w", "step": n} for n in range(5)])
    assert [(warned.message, warned.times) for warned in history.warnings.values()] == [("w", 5)]


def test_a_stream_of_a_newer_version_is_refused() -> None:
    with pytest.raises(RunFormatError, match=r"schema 2.*upgrade training-hub"):
        fold([{"event": "start", "schema": 2}])


ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63), 10**400])
    | st.floats()
    | st.text(max_size=2)
    | st.lists(st.none())
)
KINDS = st.sampled_from(["start", "step", "eval", "save", "samples", "warning", "stop", "fail", "end", "other"])
FIELDS = st.sampled_from(
    ["time", "step", "max_steps", "loss", "tokens", "validation_loss", "resumed_from", "message", "samples"]
)


@given(st.lists(st.builds(lambda kind, f: {**f, "event": kind}, KINDS, st.dictionaries(FIELDS, ANYTHING))))
def test_no_event_is_too_weird(events: list[dict[str, Any]]) -> None:
    fold(events)
    live_events(events)


@pytest.mark.slow
def test_a_long_stream_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    count = 200_000
    framework = json.dumps({f"figure_{n}": n / 7 for n in range(30)})
    with path.open("w") as stream:
        for n in range(1, count + 1):
            stream.write(f'{{"event": "step", "time": {n}, "step": {n}, "loss": 1.5, "framework": {framework}}}\n')
    assert path.stat().st_size > 150e6
    tracemalloc.start()
    history = fold(read_events(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(history.steps) == count
    assert peak < 40e6
