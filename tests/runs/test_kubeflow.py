"""Kubeflow's controller hears how far a run is, from a server that takes what Kubeflow's takes and nothing else."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from training_hub import TrainingHubCallback, sft
from training_hub.store.events import read_events
from training_hub.trackers.kubeflow import Kubeflow

FIRST, SECOND = "first-secret-token", "second-secret-token"


class Controller:
    """An HTTPS server with a certificate of its own."""

    def __init__(self, place: Path) -> None:
        self.states: list[dict[str, Any]] = []
        """Those that were taken."""
        self.tokens: list[str] = []
        self.times: list[float] = []
        self.answers: Callable[[int], int] = lambda number: 200
        """The status of each request, by its number."""
        self.delay = 0.0
        self.message: Callable[[int], str] = lambda number: "as the test wants"
        self.broken: Callable[[int], bool] = lambda number: False
        """Whether the connection ends instead of an answer's beginning."""
        self.stalls: Callable[[int], bool] = lambda number: False
        """Whether an answer's text is left out until the other side has gone."""
        self.taken = threading.Event()
        authority = trustme.CA()
        self.certificate, self.token = place / "ca.pem", place / "token"
        authority.cert_pem.write_to_path(str(self.certificate))
        self.token.write_text(f"{FIRST}\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}/apis/trainer.kubeflow.org/v1alpha1/status"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def variables(self) -> dict[str, str]:
        names = {"URL": self.url, "CA_CERT": str(self.certificate), "TOKEN": str(self.token)}
        return {f"KUBEFLOW_TRAINER_SERVER_{name}": value for name, value in names.items()}

    def _handler(controller) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                controller.times.append(time.monotonic())
                time.sleep(controller.delay)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                number = len(controller.times)
                if controller.broken(number):
                    self.wfile.write(b"no answer\r\n\r\n")
                    return
                status, message = controller.answers(number), controller.message(number)
                if status == 200:
                    status, message = checked(body, self.headers)
                if status == 200:
                    controller.states.append(json.loads(body)["trainerStatus"])
                    controller.tokens.append(self.headers["Authorization"].removeprefix("Bearer "))
                    controller.taken.set()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", controller.url)
                self.end_headers()
                if controller.stalls(number):
                    self.connection.settimeout(10)
                    with contextlib.suppress(OSError):
                        self.rfile.read(1)
                    return
                self.wfile.write(json.dumps({"kind": "Status", "message": message}).encode())

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


def checked(body: bytes, headers: Any) -> tuple[int, str]:
    """What the controller makes of a request: its types, and the validation of the resource."""
    if headers["Authorization"].partition(" ")[0] != "Bearer":
        return 403, "Forbidden"
    state = json.loads(body).get("trainerStatus", {})
    problems = []
    for name, most in (("progressPercentage", 100), ("estimatedRemainingSeconds", 2**31 - 1)):
        if name in state and not (type(state[name]) is int and 0 <= state[name] <= most):
            problems.append(name)
    metrics = state.get("metrics", [])
    if len(metrics) > 256 or len(body) >= 65536:
        problems.append("metrics")
    texts = [text for metric in metrics for text in metric.values()]
    if any(set(metric) != {"name", "value"} for metric in metrics):
        problems.append("a metric's fields")
    if not all(type(text) is str and 1 <= len(text) <= 64 for text in texts):
        problems.append("a metric's texts")
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(state.get("lastUpdatedTime"))):
        problems.append("lastUpdatedTime")
    if set(state) - {"progressPercentage", "estimatedRemainingSeconds", "metrics", "lastUpdatedTime"}:
        problems.append("unknown field")
    return (422, f"invalid: {problems}") if problems else (200, "")


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    (tmp_path / "kubeflow").mkdir()
    found = Controller(tmp_path / "kubeflow")
    for name, value in found.variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Kubeflow, "interval", 0.05)
    monkeypatch.setattr(Kubeflow, "patience", 2.0)
    yield found
    found.server.shutdown()
    found.server.server_close()


def warnings(job: dict[str, Any]) -> list[str]:
    return [
        event["message"]
        for event in read_events(job["ckpt_output_dir"] / "events.jsonl")
        if event["event"] == "warning"
    ]


def values(state: dict[str, Any]) -> dict[str, float]:
    return {metric["name"]: float(metric["value"]) for metric in state["metrics"]}


def test_a_run_is_told_from_its_beginning_to_its_end(job: dict[str, Any], controller: Controller) -> None:
    sft(**job)
    percents = [state["progressPercentage"] for state in controller.states]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert max(percents[:-1]) <= 99
    last = controller.states[-1]
    assert last["estimatedRemainingSeconds"] == 0
    assert values(last)["loss"] == pytest.approx(1 / 400)
    assert any(state.get("estimatedRemainingSeconds") is not None for state in controller.states[:-1])
    assert not warnings(job)


def test_states_come_no_faster_than_they_may(
    job: dict[str, Any], controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kubeflow, "interval", 0.4)
    sft(**job)
    apart = [later - earlier for earlier, later in zip(controller.times, controller.times[1:], strict=False)]
    assert len(apart) >= 1 and min(apart) >= 0.38
    assert controller.states[-1]["progressPercentage"] == 100


@pytest.mark.parametrize("status", [302, 403, 404, 422, 500])
def test_what_is_refused_is_told_once_and_the_last_state_sent_again(
    job: dict[str, Any], controller: Controller, status: int
) -> None:
    controller.answers = lambda number: status if number <= 3 else 200
    assert sft(**job).state == "completed"
    assert controller.states[-1]["progressPercentage"] == 100
    [warned] = warnings(job)
    assert str(status) in warned and "sent again" in warned
    assert status == 302 or "as the test wants" in warned


def test_of_a_server_that_never_takes_the_end_the_user_is_told(
    job: dict[str, Any], controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kubeflow, "patience", 0.5)
    controller.answers = lambda number: 500
    assert sft(**job).state == "completed"
    assert any("did not take the last state" in warned for warned in warnings(job))


def test_a_slow_server_holds_nobody_up(
    job: dict[str, Any], controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kubeflow, "timeout", 0.3)
    controller.delay = 0.6
    assert sft(**job).state == "completed"
    assert any("no answer within 0.3 seconds" in warned for warned in warnings(job))


def test_a_server_that_is_not_there_and_one_that_is_another(
    job: dict[str, Any], controller: Controller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Kubeflow, "patience", 0.3)
    trustme.CA().cert_pem.write_to_path(str(controller.certificate))
    sft(**job)
    assert any("certificate does not fit KUBEFLOW_TRAINER_SERVER_CA_CERT" in warned for warned in warnings(job))
    assert not controller.states
    controller.server.server_close()
    sft(**job | {"ckpt_output_dir": tmp_path / "second"})
    assert any("refused" in warned for warned in warnings({"ckpt_output_dir": tmp_path / "second"}))


def test_a_token_is_read_anew_and_seen_nowhere(
    job: dict[str, Any], controller: Controller, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    class Rotates(TrainingHubCallback):
        def on_train_begin(self, context: Any) -> None:
            assert controller.taken.wait(10)
            controller.token.write_text(SECOND)

    controller.answers = lambda number: 403 if number == 2 else 200
    sft(**job, callbacks=Rotates())
    assert controller.tokens[0] == FIRST and controller.tokens[-1] == SECOND
    out = job["ckpt_output_dir"]
    written = "".join(path.read_text(errors="replace") for path in out.rglob("*") if path.is_file())
    said = "".join(capfd.readouterr()) + caplog.text + written
    assert "403" in said
    assert FIRST not in said and SECOND not in said


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("URL", "http://controller/status", "KUBEFLOW_TRAINER_SERVER_URL has to begin with https://"),
        ("CA_CERT", None, "KUBEFLOW_TRAINER_SERVER_CA_CERT is not set"),
        ("CA_CERT", "/nowhere/ca.pem", "KUBEFLOW_TRAINER_SERVER_CA_CERT=/nowhere/ca.pem: there is no such file"),
        ("TOKEN", None, "KUBEFLOW_TRAINER_SERVER_TOKEN is not set"),
        ("TOKEN", "/nowhere/token", "KUBEFLOW_TRAINER_SERVER_TOKEN=/nowhere/token: there is no such file"),
    ],
)
def test_a_variable_that_is_of_no_use_is_named_and_the_run_goes_on(
    job: dict[str, Any], controller: Controller, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    name = f"KUBEFLOW_TRAINER_SERVER_{variable}"
    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    assert sft(**job).state == "completed"
    [warned] = warnings(job)
    assert said in warned and "this run is not tracked there" in warned
    assert not controller.times


def test_an_empty_token_is_told(job: dict[str, Any], controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kubeflow, "patience", 0.3)
    controller.token.write_text("")
    sft(**job)
    assert any("the file is empty" in warned for warned in warnings(job))


def test_a_run_that_is_stopped_or_fails_is_not_done(
    job: dict[str, Any], controller: Controller, stop_at: Any, tmp_path: Path
) -> None:
    sft(**job, callbacks=stop_at(100))
    assert 0 < controller.states[-1]["progressPercentage"] < 100

    class Raises(TrainingHubCallback):
        def on_step_end(self, context: Any) -> None:
            raise RuntimeError("no")

    with pytest.raises(Exception, match="no"):
        sft(**job | {"ckpt_output_dir": tmp_path / "failed"}, callbacks=Raises(), callback_errors="stop")
    assert controller.states[-1]["progressPercentage"] < 100


def test_a_run_that_goes_on_begins_where_it_was(job: dict[str, Any], controller: Controller, stop_at: Any) -> None:
    sft(**job, callbacks=stop_at(200))
    controller.states.clear()
    sft(**job, resume=True)
    assert controller.states[0]["progressPercentage"] >= 50
    assert controller.states[-1]["progressPercentage"] == 100


def test_an_answer_that_breaks_off_ends_no_progress(job: dict[str, Any], controller: Controller) -> None:
    controller.broken = lambda number: number <= 2
    assert sft(**job).state == "completed"
    assert controller.states[-1]["progressPercentage"] == 100


def test_a_refusal_whose_message_never_comes_ends_no_progress(
    job: dict[str, Any], controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kubeflow, "timeout", 0.3)
    controller.answers = lambda number: 500 if number == 1 else 200
    controller.stalls = lambda number: number == 1
    assert sft(**job).state == "completed"
    assert controller.states[-1]["progressPercentage"] == 100


def test_a_reason_in_ever_other_words_is_told_once(job: dict[str, Any], controller: Controller) -> None:
    controller.answers = lambda number: 500 if number <= 4 else 200
    controller.message = lambda number: f"request {number} has failed"
    sft(**job)
    assert len(warnings(job)) == 1


@pytest.mark.parametrize("token", ["first-line\nsecond-line", "two-part secret-token", "caf\u00e9"])
def test_a_file_that_holds_no_token_is_told_without_what_it_holds(
    job: dict[str, Any], controller: Controller, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setattr(Kubeflow, "patience", 0.3)
    controller.token.write_text(token, encoding="utf-8")
    sft(**job)
    said = (job["ckpt_output_dir"] / "events.jsonl").read_text()
    assert "holds something else than one token" in said
    assert not any(word in said for word in (*token.split(), "Bearer"))


def test_a_token_that_the_server_repeats_is_not_shown_in_part_either(
    job: dict[str, Any], controller: Controller
) -> None:
    controller.token.write_text("secret" * 60)
    controller.answers = lambda number: 403 if number == 1 else 200
    controller.message = lambda number: f"no such token: {'secret' * 60}"
    sft(**job)
    [warned] = warnings(job)
    assert "no such token: ***" in warned and "secret" not in warned


def test_of_many_figures_those_of_every_run_are_kept_and_the_request_is_small_enough() -> None:
    from training_hub.trackers.kubeflow import METRICS, _metrics

    of_framework = {f"framework/🍕{number}".ljust(50, "🍕"): 1.0 for number in range(300)}
    found = [metric["name"] for metric in _metrics(of_framework | {"own": 1.0, "validation_loss": 2.0, "loss": 3.0})]
    assert found[:3] == ["loss", "validation_loss", "own"]
    assert len(json.dumps(_metrics(of_framework))) < 60 * 1024
    assert len(_metrics({f"a{number}": 1.0 for number in range(300)})) == METRICS


def test_a_figure_that_is_no_number_any_more_does_not_stand_as_it_was() -> None:
    kubeflow = Kubeflow({})
    sent: list[Any] = []
    kubeflow._sender = type("Sender", (), {"send": lambda self, state: sent.append(state)})()  # type: ignore[assignment]
    for loss in (1.0, float("nan")):
        kubeflow.receive([{"event": "step", "step": 1, "max_steps": 4, "loss": loss}])
    assert values(sent[0]) == {"loss": 1.0} and values(sent[1]) == {}
