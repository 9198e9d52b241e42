"""What a person sees of a run."""

from __future__ import annotations

import io
import logging
import os
import pty
import select
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_hub.reading.console import Console
from training_hub.reading.figures import count_text, describe, duration_text, figures

logger = logging.getLogger("training_hub")


@pytest.fixture(autouse=True)
def _level_as_it_was() -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.NOTSET)
    yield
    logger.setLevel(level)


@contextmanager
def unconfigured() -> Iterator[None]:
    """A process that has not set up logging: without the handlers that pytest puts on the root."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])
        patch.setattr(logger, "handlers", [])
        yield


def step(number: int, most: int = 100, at: float | None = None, **fields: Any) -> dict[str, Any]:
    moment = 1000.0 + number if at is None else at
    return {
        "event": "step",
        "time": moment,
        "step": number,
        "max_steps": most,
        "epoch": number / most,
        "loss": 2.0,
    } | fields


def shown(capsys: pytest.CaptureFixture[str], *events: dict[str, Any]) -> list[str]:
    with unconfigured(), Console() as console:
        for event in events:
            console.receive(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_lines_come_each_five_percent_and_at_both_ends(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, *(step(n) for n in range(1, 101)))
    assert [line.split()[1] for line in lines] == [f"{n}/100" for n in [*range(1, 97, 5), 100]]


def test_no_more_than_a_line_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, *(step(n, at=1000 + n / 100) for n in range(1, 101)))
    assert [line.split()[1] for line in lines] == ["1/100", "100/100"]


def test_a_long_run_shows_a_sign_of_life_each_minute(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, *(step(n, 100_000) for n in range(1, 182)))
    assert [line.split()[1] for line in lines] == [f"{n}/100000" for n in (1, 61, 121, 181)]


def test_the_last_step_is_shown_when_a_run_ends_early(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, step(1), step(2), step(3))
    assert [line.split()[1] for line in lines] == ["1/100", "3/100"]


def test_a_line_has_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, step(1), step(50, tokens_per_second=12_345.6), step(51))
    assert lines[1] == "step 50/100  epoch 0.50  loss 2.0000  12k tok/s  0:50 left"


def test_other_events_are_said_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(
        capsys,
        {
            "event": "start",
            "algorithm": "sft",
            "backend": "trl",
            "rows": 1,
            "num_epochs": 3,
            "world_size": 2,
            "effective_batch_size": 8,
        },
        {"event": "eval", "step": 5, "validation_loss": 1.25},
        {"event": "save", "step": 5, "checkpoint": "out/checkpoint-5"},
        {"event": "warning", "message": "2 rows are too long"},
        {"event": "fail", "error": "ValueError", "message": "no"},
        {"event": "end", "metrics": {}},
    )
    assert lines == [
        "sft with trl: 1 row, 3 epochs, 2 processes, effective batch 8",
        "step 5: validation loss 1.2500",
        "step 5: saved out/checkpoint-5",
        "warning: 2 rows are too long",
        "warning: failed: ValueError: no",
    ]


def test_a_process_that_set_up_logging_gets_its_lines_there(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger.setLevel(logging.INFO)
    with unconfigured():
        logging.getLogger().addHandler(handler)
        with Console() as console:
            console.receive(step(1))
            assert logger.handlers == []
    assert "step 1/100" in stream.getvalue()
    assert capsys.readouterr().err == ""


def test_logging_is_left_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    shown(capsys, step(1))
    assert logger.handlers == []
    assert logger.level == logging.NOTSET


@pytest.mark.parametrize("quiet", ["level", "disable"])
def test_it_is_quiet_when_logging_says_so(quiet: str, capsys: pytest.CaptureFixture[str]) -> None:
    if quiet == "level":
        logger.setLevel(logging.WARNING)
    else:
        logging.disable(logging.INFO)
    try:
        assert shown(capsys, step(1), {"event": "warning", "message": "w"}) == ["warning: w"]
    finally:
        logging.disable(logging.NOTSET)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3), st.lists, max_leaves=3
)
FIELDS = st.sampled_from(
    [
        "time",
        "step",
        "max_steps",
        "epoch",
        "loss",
        "tokens_per_second",
        "validation_loss",
        "checkpoint",
        "message",
        "rows",
        "error",
    ]
)


@given(
    st.lists(
        st.builds(
            lambda kind, fields: {"event": kind, **fields},
            st.sampled_from(["start", "step", "eval", "save", "warning", "fail", "end", "other", None]),
            st.dictionaries(FIELDS, ANYTHING),
        )
    )
)
def test_no_event_is_too_weird(events: list[dict[str, Any]]) -> None:
    with Console() as console:
        for event in events:
            console.receive(event)
            describe(event)
            figures(event, None)


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError

    def isatty(self) -> bool:
        return self.terminal

    terminal = False


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("kind", ["broken", "closed", "none"])
def test_a_stream_that_fails_ends_no_run(kind: str, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream: Any = Broken()
    stream.terminal = terminal
    if kind == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stderr", None if kind == "none" else stream)
    monkeypatch.setattr(sys, "stdout", None if kind == "none" else stream)
    with unconfigured(), Console() as console:
        console.receive(step(1))
        console.receive({"event": "warning", "message": "w"})
        console.receive(step(100))


def test_threads_may_share_it(capsys: pytest.CaptureFixture[str]) -> None:
    with unconfigured(), Console() as console:
        threads = [
            threading.Thread(target=lambda: [console.receive({"event": "warning", "message": "w"}) for _ in range(50)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert capsys.readouterr().err.splitlines() == ["warning: w"] * 200


def test_nothing_is_shown_after_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Console() as console:
        pass
    console.receive(step(1))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (90_000, "25:00:00"), (-3, "0:00")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0.4, "0"), (950, "950"), (999.6, "1.0k"), (1234, "1.2k"), (12_345, "12k"), (3.4e6, "3.4M"), (float("nan"), "?")],
)
def test_counts(count: float, text: str) -> None:
    assert count_text(count) == text


SCRIPT = textwrap.dedent(
    """
    import logging, sys, time
    from training_hub.reading.console import Console
    {setup}
    with Console() as console:
        console.receive({{"event": "start", "algorithm": "sft", "backend": "trl", "rows": 7, "max_steps": 3}})
        for step in (1, 2, 3):
            time.sleep(0.3)
            console.receive({{"event": "step", "step": step, "max_steps": 3, "epoch": step / 3, "loss": 1.5}})
            if step == 2:
                console.receive({{"event": "warning", "message": "something odd"}})
                print("from the user's own code")
    """
)


def on_a_terminal(setup: str = "", **variables: str) -> str:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **variables}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(setup=setup)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    read = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 0.1)[0]:
            continue
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        read += part
    os.close(ours)
    assert process.wait(timeout=30) == 0
    return read.decode()


def test_a_terminal_gets_a_bar() -> None:
    text = on_a_terminal()
    assert "\x1b[" in text
    assert "━" in text
    assert "step 3/3" in text
    assert "loss 1.5000" in text
    # Lines stand on lines of their own, above the bar.
    plain = [line.strip() for line in text.replace("\x1b[2K", "").split("\r\n")]
    assert any(line.endswith("warning: something odd") for line in plain)
    assert any(line.endswith("from the user's own code") for line in plain)
    assert "step 3/3" in plain[-2] or "step 3/3" in plain[-1]


def test_the_users_own_log_lines_come_above_the_bar_too() -> None:
    text = on_a_terminal("logging.basicConfig(level=logging.INFO)")
    assert "━" in text
    assert text.count("something odd") == 1
    assert "WARNING:training_hub:something odd\r\n" in text


def test_a_quiet_logger_has_no_bar() -> None:
    text = on_a_terminal("logging.getLogger('training_hub').setLevel(logging.WARNING)")
    assert "━" not in text
    assert "step" not in text
    assert "warning: something odd" in text


def test_a_dumb_terminal_gets_lines() -> None:
    text = on_a_terminal(TERM="dumb")
    assert "\x1b" not in text
    assert "step 1/3" in text
    assert "step 3/3" in text
