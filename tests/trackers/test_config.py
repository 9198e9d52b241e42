"""Which trackers a run has, and what is refused before it starts."""

from __future__ import annotations

import importlib.metadata
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from telling import STEPS, events_of

from training_hub.errors import ParameterError
from training_hub.plugins.discovery import builtin_trackers
from training_hub.store.events import read_events
from training_hub.trackers import dispatch, feed, tracker
from training_hub.trackers.config import check_trackers, configured
from training_hub.trackers.tensorboard import TensorBoard

KINDS = builtin_trackers()
INSTALLED = [kind for kind in KINDS if kind.distributions]
"""Those whose client has to be installed."""


def names(parameters: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    return {each.tracker.name: dict(each.settings) for each in configured(KINDS, parameters, environment)}


def test_parameters_come_before_variables() -> None:
    variables = {"MLFLOW_TRACKING_URI": "a", "MLFLOW_EXPERIMENT_NAME": "b", "WANDB_PROJECT": "c"}
    assert names({}, {}) == {}
    assert names({}, variables) == {
        "wandb": {"wandb_project": "c"},
        "mlflow": {"mlflow_tracking_uri": "a", "mlflow_experiment_name": "b"},
    }
    given = {"mlflow_tracking_uri": "x", "mlflow_run_name": "r", "wandb_project": None, "node_rank": 0}
    assert names(given, variables)["mlflow"] == {
        "mlflow_tracking_uri": "x",
        "mlflow_experiment_name": "b",
        "mlflow_run_name": "r",
    }
    assert names({"wandb_project": "p"}, {"WANDB_MODE": "disabled"}) == {}
    assert names({**given, "node_rank": 1}, variables) == {}


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(tracker, "version", missing)


@pytest.mark.parametrize("kind", INSTALLED, ids=lambda kind: kind.name)
def test_a_missing_package_is_refused_with_the_line_that_installs_it(
    kind: Any, nothing_installed: None, train: Callable[..., Any], out: Path
) -> None:
    with pytest.raises(ParameterError) as raised:
        train(**{kind.switch: "x"})
    assert str(raised.value) == (
        f'{kind.switch}=x: {kind.name} is not installed: pip install "training-hub[{kind.name}]"'
    )
    assert not out.exists()


def test_a_missing_package_that_only_a_variable_asks_for_is_told_and_the_run_goes_on(
    nothing_installed: None, train: Callable[..., Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in INSTALLED:
        monkeypatch.setenv(kind.variables[kind.switch], "x")
    assert train().metrics["step"] == STEPS
    said = [event["message"] for event in events_of(out, "warning")]
    assert [line.partition(" ")[0] for line in said] == [
        "WANDB_PROJECT=x",
        "TENSORBOARD_LOGGING_DIR=x",
        "MLFLOW_TRACKING_URI=x",
    ]
    assert all("not tracked there" in line and 'pip install "training-hub[' in line for line in said)


def test_an_old_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "version", lambda name: "0.16.4")
    with pytest.raises(ParameterError, match=r"wandb 0.16.4 is installed, and 0.31 or newer is needed: pip install"):
        check_trackers(KINDS, {"wandb_project": "p"}, {})


def test_a_client_that_cannot_even_be_asked_is_refused_with_what_it_says(
    train: Callable[..., Any], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(settings: Any) -> str | None:
        raise ImportError("built for another interpreter")

    monkeypatch.setattr(TensorBoard, "problem", broken)
    with pytest.raises(ParameterError, match="tensorboard_log_dir=.*: ImportError: built for another interpreter"):
        train(tensorboard_log_dir=tmp_path / "tb")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "tb")
    train()
    assert "ImportError: built for another interpreter" in events_of(out, "warning")[0]["message"]


def test_a_parameter_of_a_tracker_that_is_off_is_not_dropped_in_silence(train: Callable[..., Any], out: Path) -> None:
    with pytest.raises(ParameterError, match="mlflow_run_name='r' without mlflow_tracking_uri or MLFLOW_TRACKING_URI"):
        train(mlflow_run_name="r")
    with pytest.raises(ParameterError, match="wandb_entity='us' without wandb_project or WANDB_PROJECT"):
        train(wandb_entity="us")
    assert not out.exists()


def test_a_database_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from training_hub.trackers import mlflow

    monkeypatch.setattr(mlflow, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match="sqlalchemy is not installed, which MLflow needs for sqlite"):
        check_trackers(KINDS, {"mlflow_tracking_uri": "sqlite:///x.db"}, {})


def test_a_tracker_that_hangs_slows_neither_the_run_nor_the_others(
    train: Callable[..., Any], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "GRACE_SECONDS", 1.0)
    let_go = threading.Event()
    monkeypatch.setattr(TensorBoard, "receive", lambda self, events: let_go.wait(60))
    took = time.monotonic()
    try:
        train(tensorboard_log_dir=tmp_path / "tb")
        assert time.monotonic() - took < 20
    finally:
        let_go.set()
    assert "TensorBoard has not taken everything within 1 seconds" in events_of(out, "warning")[0]["message"]


def test_events_that_a_slow_tracker_has_no_room_for_are_counted(
    train: Callable[..., Any], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LIMIT", 2)
    begun = TensorBoard.begin

    def slow(self: Any, manifest: Any, earlier: Any) -> Any:
        time.sleep(2)
        return begun(self, manifest, earlier)

    monkeypatch.setattr(TensorBoard, "begin", slow)
    train(tensorboard_log_dir=tmp_path / "tb")
    told = [event for event in read_events(out / "events.jsonl") if event["event"] != "warning"]
    missing = len(told) - feed.LIMIT
    assert f"TensorBoard was too slow: {missing} events are missing" in events_of(out, "warning")[0]["message"]


def test_one_that_fails_is_told_once_and_detached(
    train: Callable[..., Any], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, events: Any) -> None:
        raise SystemExit("https://user:pa55@host is gone\nand more")

    monkeypatch.setattr(TensorBoard, "receive", fail)
    train(tensorboard_log_dir=tmp_path / "tb")
    [warning] = events_of(out, "warning")
    assert warning["message"] == (
        "TensorBoard has failed, and this run is no longer tracked there: SystemExit: https://***@host is gone"
    )
