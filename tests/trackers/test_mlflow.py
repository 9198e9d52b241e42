"""MLflow, with a real server on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from telling import STEPS, Server, Telling, events_of, free_port, losses

from training_hub.errors import DatasetError, ParameterError, TrainingFailedError
from training_hub.trackers import dispatch


def runs(server: Server, experiment: str) -> list[Any]:
    client = MlflowClient(tracking_uri=server.uri)
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def test_parameters_metrics_state_and_report_are_there(
    server: Server, train: Callable[..., Any], out: Path, tmp_path: Path
) -> None:
    train(mlflow_tracking_uri=server.uri, mlflow_experiment_name="whole", mlflow_run_name="first", learning_rate=1e-3)
    [run] = runs(server, "whole")
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    given = run.data.params
    assert (given["learning_rate"], given["backend"], given["algorithm"]) == ("0.001", "telling", "sft")
    assert given["version/training-hub"] and given["num_epochs"] == "3"
    client = MlflowClient(tracking_uri=server.uri)
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == list(enumerate(losses(), start=1))
    for name in ("learning_rate", "grad_norm", "tokens_per_second", "epoch", "tokens", "framework/samples per s"):
        assert len(client.get_metric_history(run.info.run_id, name)) == STEPS, name
    assert run.data.metrics["validation_loss"] == 0.25
    assert run.data.metrics["final/seconds"] == 1.5
    report = Path(client.download_artifacts(run.info.run_id, "report.html", str(tmp_path)))
    assert "<svg" in report.read_text(encoding="utf-8")
    path = client.download_artifacts(run.info.run_id, "run.json", str(tmp_path))
    assert json.loads(Path(path).read_text()) == json.loads((out / "run.json").read_text())


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("no"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_how_a_run_ended_is_told(server: Server, train: Callable[..., Any], error: BaseException, status: str) -> None:
    def fail(step: int, run: Any) -> None:
        if step == 3:
            raise error

    with pytest.raises((TrainingFailedError, KeyboardInterrupt)):
        train(fail, mlflow_tracking_uri=server.uri, mlflow_experiment_name=status)
    [run] = runs(server, status)
    assert run.info.status == status
    assert run.data.metrics["loss"] == losses()[1]


def test_the_variables_of_mlflow_turn_it_on(
    server: Server, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, out: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "variable")
    train(ckpt_output_dir=out / "1")
    train(ckpt_output_dir=out / "2", mlflow_experiment_name="parameter")
    assert (len(runs(server, "variable")), len(runs(server, "parameter"))) == (1, 1)


def test_only_the_first_node_tracks(server: Server, train: Callable[..., Any]) -> None:
    train(
        mlflow_tracking_uri=server.uri, mlflow_experiment_name="nodes", nnodes=2, node_rank=1, master_addr="127.0.0.1"
    )
    assert runs(server, "nodes") == []


def test_a_mistake_found_late_leaves_no_run(server: Server, train: Callable[..., Any], monkeypatch: Any) -> None:
    def refuse(self: Any, run: Any) -> Any:
        raise DatasetError("a row that only the template can refuse")

    monkeypatch.setattr(Telling, "train", refuse)
    with pytest.raises(DatasetError):
        train(mlflow_tracking_uri=server.uri, mlflow_experiment_name="late")
    assert MlflowClient(tracking_uri=server.uri).get_experiment_by_name("late") is None


def test_a_password_in_the_address_is_kept_nowhere(
    server: Server, train: Callable[..., Any], out: Path, capfd: pytest.CaptureFixture[str], caplog: Any
) -> None:
    with_password = server.uri.replace("://", "://somebody:pa55@word@")
    caplog.set_level("DEBUG", logger="training_hub")
    train(mlflow_tracking_uri=with_password, mlflow_experiment_name="password")
    [run] = runs(server, "password")
    assert run.info.status == "FINISHED"
    assert run.data.params["mlflow_tracking_uri"] == server.uri.replace("://", "://***@")
    said = "".join(capfd.readouterr()) + caplog.text
    for path in (path for path in out.rglob("*") if path.is_file()):
        said += path.read_text(errors="replace")
    assert "***@" in said
    for part in ("pa55", "somebody", "word@"):
        assert part not in said and part not in json.dumps(run.to_dictionary())


def test_the_end_waits_only_so_long_for_a_server_that_hangs(
    mortal: Server, train: Callable[..., Any], out: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(dispatch, "GRACE_SECONDS", 2.0)
    ended = 0.0

    def stop(step: int, run: Any) -> None:
        nonlocal ended
        if step == 3:
            mortal.pause()
        ended = time.monotonic()

    try:
        train(stop, mlflow_tracking_uri=mortal.uri)
        assert time.monotonic() - ended < 10
    finally:
        mortal.go_on()
    assert "has not taken everything within 2 seconds" in events_of(out, "warning")[0]["message"]
    assert "has not taken everything" in caplog.text


def test_a_server_that_dies_stops_nothing_and_is_told_once(
    mortal: Server, train: Callable[..., Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

    def die(step: int, run: Any) -> None:
        if step == 3:
            wait_for_loss(mortal)
            mortal.kill()

    result = train(die, mlflow_tracking_uri=mortal.uri.replace("://", "://a:pa55@"), mlflow_experiment_name="dies")
    assert result.metrics["step"] == STEPS
    assert json.loads((out / "run.json").read_text())["state"] == "completed"
    [warning] = events_of(out, "warning")
    assert "MLflow has failed, and this run is no longer tracked there" in warning["message"]
    assert "pa55" not in (out / "events.jsonl").read_text()


def test_a_server_that_is_not_there_is_told_before_the_start(
    train: Callable[..., Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(ParameterError, match=r"mlflow_tracking_uri=http://\*\*\*@127.*: nobody answers there"):
        train(mlflow_tracking_uri=f"http://a:pa55@{address}")
    assert not out.exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{address}")
    train()
    [warning] = events_of(out, "warning")
    assert warning["message"].startswith("MLFLOW_TRACKING_URI=http://127") and "nobody answers" in warning["message"]


def test_a_database_needs_no_server(train: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy", reason="not in mlflow-skinny")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    train(mlflow_tracking_uri=uri)
    [run] = MlflowClient(tracking_uri=uri).search_runs(["0"])
    assert run.info.status == "FINISHED" and run.data.metrics["loss"] == losses()[-1]


def wait_for_loss(server: Server) -> None:
    """Until the server has the first step, so that it is there in the beginning and gone after."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any("loss" in run.data.metrics for run in runs(server, "dies")):
            return
        time.sleep(0.1)
    raise AssertionError("no step has reached the server")
