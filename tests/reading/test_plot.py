"""Loss curves as pictures."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from training_hub.errors import ExtraMissingError, ParameterError, RunNotFoundError
from training_hub.reading.curves import run_curves
from training_hub.reading.thinning import averaged, thinned


def test_training_and_validation_of_several_runs(make_run: Any) -> None:
    one, other = run_curves([make_run("a"), make_run("b", losses=(9.0, 8.0))], labels=["first", "second"])
    assert (one.label, other.label) == ("first", "second")
    assert one.training == [(1, 3.0), (2, 2.0), (3, 1.5)]
    assert one.validation == [(1, 3.1), (2, 2.1), (3, 1.6)]
    assert one.smooth is None


def test_against_tokens_and_time(make_run: Any) -> None:
    (curve,) = run_curves([make_run()], against="tokens")
    assert [x for x, _ in curve.training] == [100, 200, 300]
    assert [x for x, _ in curve.validation] == [100, 200, 300]
    (curve,) = run_curves([make_run("b")], against="time")
    assert 0 <= curve.training[0][0] <= curve.training[-1][0] < 10


def test_runs_of_one_name_are_told_apart(make_run: Any) -> None:
    paths = [make_run("a/out"), make_run("b/out"), make_run("c")]
    assert [curve.label for curve in run_curves(paths)] == [str(paths[0]), str(paths[1]), "c"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"labels": ["a", "b"]}, "there are 2 for 1 run"),
        ({"against": "rows"}, "must be one of steps, tokens, time"),
        ({"ema": 1.0}, "below 1"),
        ({"ema": -0.1}, "at least 0"),
        ({"ema": float("nan")}, "at least 0"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], said: str, make_run: Any) -> None:
    with pytest.raises(ParameterError, match=said):
        run_curves([make_run()], **arguments)


def test_what_a_file_does_not_tell_is_said(tmp_path: Path, make_run: Any) -> None:
    state = tmp_path / "trainer_state.json"
    state.write_text('{"log_history": [{"loss": 2.0, "step": 1}, {"loss": 1.0, "step": 2}]}')
    for against in ("tokens", "time"):
        with pytest.raises(ParameterError, match=f"does not tell of {against}; plot it against steps"):
            run_curves([state], against=against)
    with pytest.raises(ParameterError, match="no loss yet"):
        run_curves([make_run(losses=())])
    with pytest.raises(ParameterError, match="no run"):
        run_curves([])


def test_smoothing_is_not_drawn_towards_zero_and_survives_nan() -> None:
    nan = float("nan")
    assert [y for _, y in averaged([(n, 5.0) for n in range(4)], 0.9)] == pytest.approx([5.0] * 4)
    smooth = list(averaged([(0, 4.0), (1, nan), (2, 2.0)], 0.5))
    assert [x for x, _ in smooth] == [0, 1, 2]
    assert smooth[-1][1] == pytest.approx((0.5 * 4.0 * 0.5 + 0.5 * 2.0) / 0.75)


def test_long_curves_keep_their_spikes_and_ends() -> None:
    points = [(float(n), 1.0) for n in range(100_000)]
    points[54_321] = (54_321.0, 99.0)
    points[777] = (777.0, float("nan"))
    short = thinned(points, len(points))
    assert len(short) <= 2001
    assert (54_321.0, 99.0) in short
    assert (short[0], short[-1]) == (points[0], points[-1])


@pytest.mark.parametrize("name", ["loss.png", "new directory/größe.svg"])
def test_a_picture_is_written(name: str, make_run: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from training_hub import plot_loss

    figure = plot_loss([make_run("a"), make_run("_b $x$")], ema=True, output=tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert content.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["a", "a, validation", r" _b \$x\$", r" _b \$x\$, validation"]


def test_one_run_needs_no_list(make_run: Any) -> None:
    pytest.importorskip("matplotlib")
    from training_hub import plot_loss

    assert len(plot_loss(make_run()).axes[0].get_lines()) == 2


def test_other_formats_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    from training_hub import plot_loss

    with pytest.raises(ParameterError, match=r"\.png, \.svg or \.pdf"):
        plot_loss(tmp_path / "nowhere", output="loss.gif")


def test_without_matplotlib_the_command_that_installs_it_is_said(
    monkeypatch: pytest.MonkeyPatch, make_run: Any
) -> None:
    from training_hub import plot_loss

    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExtraMissingError, match=r'pip install "training-hub\[plot\]"'):
        plot_loss(make_run())


def test_nowhere_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from training_hub import plot_loss

    with pytest.raises(RunNotFoundError):
        plot_loss(tmp_path / "nowhere")


def test_matplotlib_is_imported_to_plot_and_not_before() -> None:
    script = "import sys; from training_hub import plot_loss; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    """A directory as the older package's lora_sft left it, and another file with names of its own."""
    directory = tmp_path / "logged"
    directory.mkdir()
    rows = [{"step": n, "epoch": n / 4, "max_steps": 4, "loss": 4.0 / n, "learning_rate": 1e-4} for n in (1, 2, 3, 4)]
    rows += [{"step": 4, "epoch": 1.0, "max_steps": 4, "train_loss": 9.0, "train_runtime": 2.0}]
    (directory / "training_metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    own = [{"batch_loss": 2.0, "lr": 0.1}, {"batch_loss": 1.0, "lr": 0.2}]
    (directory / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in own))
    return directory


def heights(figure: Any) -> list[float]:
    return [float(y) for y in figure.axes[0].get_lines()[0].get_ydata()]


def test_the_figure_stands_for_the_path_of_its_file(make_run: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from training_hub import plot_loss

    figure = plot_loss([make_run("a"), make_run("b")])
    written = tmp_path / "a" / "loss_plot.png"
    assert (os.fspath(figure), f"{figure}", Path(figure)) == (str(written), str(written), written)
    with open(figure, "rb") as content:
        assert content.read(4) == b"\x89PNG"
    assert len(pickle.loads(pickle.dumps(figure)).axes) == 1
    assert f"{plot_loss(make_run('c'), output=tmp_path / 'x.pdf')}" == str(tmp_path / "x.pdf")


def test_keywords_of_the_older_package_mean_what_they_meant(logged: Path, make_run: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from training_hub import plot_loss

    with pytest.deprecated_call(match=r"ckpt_output_dirs=\.\.\.\) is a keyword of the older training_hub: give runs="):
        figure = plot_loss(ckpt_output_dirs=[str(logged)], output_path=str(tmp_path / "x.png"))
    assert heights(figure) == [4.0, 2.0, 4 / 3, 1.0] and (tmp_path / "x.png").exists()
    assert heights(plot_loss(logged, metrics_file="mine.jsonl", metric_keys=["training_loss", "batch_loss"])) == [
        2.0,
        1.0,
    ]
    assert heights(plot_loss(logged, metrics_file="mine.jsonl", metric_keys=["batch_loss", "lr"])) == [2.0, 1.0]
    assert heights(plot_loss(logged, metric_keys=["lr"])) == [1e-4] * 4
    run = make_run()
    # A run of the hub's keeps its figures by itself, whatever file is named.
    assert heights(plot_loss(run, metrics_file="training_metrics.jsonl", metric_keys=["avg_loss"])) == [3.0, 2.0, 1.5]
    smooth = plot_loss(run, ema=True, ema_span=3).axes[0].get_lines()[1].get_ydata()
    assert list(smooth) == [y for _, y in averaged([(1, 3.0), (2, 2.0), (3, 1.5)], 0.5)]
    assert len(plot_loss(run, ema_span=3).axes[0].get_lines()) == len(plot_loss(run).axes[0].get_lines())


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"ema": 0.5, "ema_span": 3}, ParameterError, "both say how to smooth"),
        ({"ema": True, "ema_span": 0}, ParameterError, "expected a number of steps"),
        ({"output": "a.png", "output_path": "b.png"}, ParameterError, "output and output_path are the same"),
        ({"ckpt_output_dirs": "x"}, ParameterError, "runs and ckpt_output_dirs are the same"),
        ({"metrics_file": "nowhere.jsonl"}, RunNotFoundError, "nowhere.jsonl: there is no such file"),
        ({"metric_keys": ["nothing"], "metrics_file": "mine.jsonl"}, ParameterError, "tells of none of them"),
        ({"lables": ["a"]}, TypeError, "no keyword lables .did you mean 'labels'"),
    ],
)
def test_older_keywords_that_do_not_fit(given: dict[str, Any], kind: type, said: str, logged: Path) -> None:
    pytest.importorskip("matplotlib")
    from training_hub import plot_loss

    with pytest.raises(kind, match=said):
        plot_loss(logged, **given)


def test_shown_and_written(make_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    from training_hub import plot_loss

    pyplot.switch_backend("agg")
    shown: list[int] = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.extend(pyplot.get_fignums()))
    figure = plot_loss(make_run(), show=True)
    assert shown == [figure.number] and Path(figure).exists()
    pyplot.close(figure)


def test_a_directory_that_cannot_be_written_to_costs_the_file_alone(
    make_run: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("matplotlib")
    from training_hub import plot_loss

    run = make_run()
    (run / "loss_plot.png").mkdir()
    figure = plot_loss(run)
    assert len(figure.axes) == 1 and "cannot be written" in caplog.text
    with pytest.raises(ParameterError, match="give output="):
        os.fspath(figure)
