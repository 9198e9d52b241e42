"""Figures that an algorithm has of its own: kept, labelled with their units, and compared as they are better."""

from __future__ import annotations

import io
import json
import math
from typing import Any, ClassVar

import pytest
from rich.console import Console as Screen

from training_hub import Algorithm
from training_hub.algorithms.sft import SFTAlgorithm
from training_hub.cli import main
from training_hub.errors import ParameterError
from training_hub.plugin import Figure
from training_hub.reading import as_data
from training_hub.reading.comparison import compare
from training_hub.reading.curves import run_curves
from training_hub.reading.figures import describe, figures
from training_hub.reading.history import fold, points
from training_hub.reading.own_figures import own_figures
from training_hub.reading.record import load
from training_hub.reading.report import page
from training_hub.reading.watched import Watched
from training_hub.reading.watching import watch
from training_hub.store.events import EventLog
from training_hub.store.figure import NO_FIGURES, figures_by_name, of_its_own, read, written
from training_hub.trackers import payload

OWN = (
    Figure("loss", "nats a pair", less_is_better=True),
    Figure("reward_margin", "nats", less_is_better=False),
    Figure("distance", "nats a token"),
)


def test_a_manifest_describes_them_and_is_read_again() -> None:
    assert read(json.loads(json.dumps(written(OWN)))) == OWN
    every = figures_by_name(OWN)
    assert every["validation_loss"].label == "validation loss, nats a pair"
    assert every["validation_distance"] == Figure("validation_distance", "nats a token")
    assert (every["learning_rate"].label, "validation_learning_rate" in every) == ("learning rate", False)
    assert of_its_own(OWN) == OWN[1:]
    assert figures_by_name(())["loss"].label == "loss, nats a token"


@pytest.mark.parametrize("damaged", [{"margin": 3}, {"margin": None}, {"step": {"unit": "steps"}}, {"seconds": {}}])
def test_what_is_damaged_reads_as_if_it_were_not_there(damaged: dict[str, Any]) -> None:
    assert read(damaged) == ()
    assert read({"margin": {"unit": 3, "less_is_better": "yes"}}) == (Figure("margin"),)


def test_they_are_kept_beside_the_common_ones(make_pairs: Any) -> None:
    history = load(make_pairs()).history
    assert list(points(history.steps, "reward_margin", "steps")) == [(1, 0.0), (2, 0.5), (3, 0.25)]
    assert list(history.evaluations["validation_reward_margin"]) == [-0.25, -0.5, -0.75]
    assert list(history.evaluations["tokens"]) == [100, 200, 300]


def test_what_no_algorithm_declares_is_not_kept() -> None:
    assert "reward_margin" not in fold([{"event": "step", "step": 1, "loss": 1.0, "reward_margin": 2.0}]).steps.columns


def test_a_validation_may_have_them_alone() -> None:
    events = [{"event": "eval", "step": 4, "validation_rate": 0.5}, {"event": "eval", "step": 5}]
    history = fold(events, ["rate"])
    assert (list(history.evaluations.steps), history.best_validation()) == ([4], None)
    assert math.isnan(history.evaluations["validation_loss"][0])


def test_a_resumed_run_tells_them_anew() -> None:
    def step(n: int, rate: float) -> dict[str, Any]:
        return {"event": "step", "step": n, "loss": 1.0, "rate": rate}

    history = fold([step(1, 0.1), step(2, 0.9), {"event": "start", "resumed_from": 1}, step(2, 0.2)], ["rate"])
    assert list(history.steps["rate"]) == [0.1, 0.2]


def test_the_best_is_of_validations_where_they_tell_of_it(make_pairs: Any) -> None:
    run = load(make_pairs())
    margin, accuracy, distance = own_figures(run.manifest.own_figures, run.history)
    assert (margin.best, margin.best_of.name) == ((1, -0.25), "validation_reward_margin")
    assert (accuracy.best, accuracy.best_of.name) == ((3, 1.0), "reward_accuracy")
    assert (distance.best, distance.last) == (None, 2e5)
    [alone] = own_figures(
        [Figure("rate", less_is_better=True)], fold([step_of(rate=v) for v in (3.0, math.nan, 2.0)], ["rate"])
    )
    assert (alone.best, alone.first, alone.last) == ((1, 2.0), 3.0, 2.0)


def step_of(**own: float) -> dict[str, Any]:
    return {"event": "step", "step": 1, "loss": 1.0} | own


def test_what_was_never_told_is_not_shown(make_pairs: Any) -> None:
    run = load(make_pairs(margins=(None,), validations=False))
    assert own_figures(run.manifest.own_figures, run.history) == []


def test_a_run_of_before_has_none(make_run: Any) -> None:
    run = load(make_run())
    assert run.manifest.own_figures == ()
    assert run.manifest.figures == figures_by_name(())
    assert as_data.details(run)["figures"] == {}


def test_they_are_plotted_by_name(make_pairs: Any, make_run: Any) -> None:
    [curve] = run_curves([make_pairs(margins=(0.0, None, 0.25))], figure="reward_margin")
    assert curve.figure.label == "reward margin, nats"
    # A step that did not tell of it leaves no gap.
    assert curve.training == [(1, 0.0), (3, 0.25)]
    assert curve.validation == [(1, -0.25), (2, -0.5), (3, -0.75)]
    [rate] = run_curves([make_run()], figure="learning_rate")
    assert (rate.figure.label, len(rate.training), rate.validation) == ("learning rate", 3, [])


def test_a_figure_that_a_run_does_not_tell_of_is_refused_with_those_that_it_tells_of(make_pairs: Any) -> None:
    path = make_pairs()
    told = r"tells of: loss, tokens, reward_margin, reward_accuracy, distance"
    with pytest.raises(ParameterError, match=rf"pairs: it does not tell of 'reward_margins' .did you mean .*{told}"):
        run_curves([path], figure="reward_margins")
    for name in NO_FIGURES:
        with pytest.raises(ParameterError, match="does not tell of"):
            run_curves([path], figure=name)


def test_a_picture_is_labelled_with_the_unit(make_pairs: Any, make_run: Any) -> None:
    pytest.importorskip("matplotlib")
    from training_hub import plot_loss

    def axes(*paths: Any, **given: Any) -> tuple[str, list[str]]:
        found = plot_loss(list(paths), **given).axes[0]
        return found.get_ylabel(), [text.get_text() for text in found.get_legend().get_texts()]

    pairs, run = make_pairs(validations=False), make_run()
    assert axes(pairs, figure="reward_margin") == ("reward margin, nats", ["pairs"])
    assert axes(pairs) == ("loss, nats a pair", ["pairs"])
    assert axes(run) == ("loss, nats a token", ["run", "run, validation"])
    both = ["pairs (nats a pair)", "run (nats a token)", "run (nats a token), validation"]
    assert axes(pairs, run) == ("loss", both)


def test_a_report_has_a_curve_for_each(make_pairs: Any, make_run: Any) -> None:
    text = page(load(make_pairs()))
    for part in (
        "Loss, nats a pair",
        '<figcaption>Reward margin<i class="training">training</i><i class="validation">validation</i></figcaption>',
        '<figcaption>Distance<i class="training">training</i></figcaption>',
        ">nats</text>",
        ">nats a token</text>",
    ):
        assert part in text, part
    assert "Reward" not in page(load(make_run()))


def test_runs_are_compared_by_them(make_pairs: Any, make_run: Any) -> None:
    found = compare([load(make_pairs()), load(make_run())]).outcomes
    assert found["losses are in"] == ["nats a pair", "nats a token"]
    assert found["last reward margin, nats"] == [0.25, None]
    assert found["last validation reward margin, nats"] == [-0.75, None]
    assert found["best reward margin, nats"] == [-0.25, None]
    assert found["best reward margin, nats, at step"] == [1, None]
    assert found["last distance, nats a token"] == [2e5, None]
    assert "best distance, nats a token" not in found
    alike = compare([load(make_run("a")), load(make_run("b"))]).outcomes
    assert not {name for name in alike if "reward" in name or "are in" in name}


def test_two_algorithms_figures_of_one_name_and_different_units_are_two(make_pairs: Any) -> None:
    other = {"reward_margin": {"unit": "points", "less_is_better": False}}
    path = make_pairs("other", validations=False)
    content = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(content | {"figures": other}))
    found = compare([load(make_pairs(validations=False)), load(path)]).outcomes
    assert found["best reward margin, nats"] == [0.5, None]
    assert found["best reward margin, points"] == [None, 0.5]


def test_the_command_line_shows_them(make_pairs: Any, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = make_pairs()
    assert main(["runs", "show", str(path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "reward margin, nats 0.0000 at first, 0.2500 at last, -0.7500 at the last validation, -0.2500 at best, at step 1"
        in text
    )
    assert "distance, nats a token 2e+05 at first" in text
    assert main(["runs", "show", str(path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["figures"]["reward_margin"] == {
        "unit": "nats",
        "less_is_better": False,
        "first": 0.0,
        "last": 0.25,
        "last_validation": -0.75,
        "best": {"of": "validation_reward_margin", "step": 1, "value": -0.25},
    }
    assert data["training"]["reward_accuracy"] == pytest.approx([1 / 3, 2 / 3, 1])
    assert main(["runs", "compare", str(path), str(path)]) == 0
    assert "best reward margin, nats -0.2500 -0.2500" in " ".join(capsys.readouterr().out.split())


def test_the_command_line_plots_them(make_pairs: Any, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    pytest.importorskip("matplotlib")
    path = make_pairs()
    monkeypatch.chdir(path.parent)
    assert main(["plot", str(path), "--figure", "reward_margin"]) == 0
    assert capsys.readouterr().out == "reward_margin.png\n"
    assert (path.parent / "reward_margin.png").exists()
    assert main(["plot", str(path), "--figure", "reward"]) == 2
    assert "it tells of: loss, tokens, reward_margin" in capsys.readouterr().err


def shown(path: Any, terminal: bool) -> str:
    out = Screen(file=io.StringIO(), force_terminal=terminal, width=100, highlight=False, markup=False, emoji=False)
    watch(path, out)
    return out.file.getvalue()


def test_who_watches_sees_them(make_pairs: Any) -> None:
    path = make_pairs()
    lines = shown(path, terminal=False).splitlines()
    assert "step 3: validation loss 0.4000, validation reward margin -0.7500" in lines
    assert "step 3/3  epoch 1.00  loss 0.4000  reward margin 0.2500  reward accuracy 1.0000  distance 2e+05" in lines
    picture = " ".join(shown(path, terminal=True).replace("│", " ").split())
    assert "reward margin" in picture and "-0.2500 at best, at step 1 (nats)" in picture


def test_a_manifest_that_comes_after_the_first_events_is_heeded(make_pairs: Any) -> None:
    path = make_pairs()
    (path / "run.json").rename(path / "later")
    watched = Watched(path)
    watched.look()
    (path / "later").rename(path / "run.json")
    watched.look()
    EventLog(path / "events.jsonl").emit("step", step=4, loss=0.1, reward_margin=0.75)
    watched.look()
    margins = list(watched.history.steps["reward_margin"])
    assert math.isnan(margins[0]) and margins[-1] == 0.75


def test_lines_of_a_run_under_way_have_the_first_of_many() -> None:
    many = [Figure(f"figure_{n}") for n in range(9)]
    event = {"event": "step", "step": 1, "loss": 1.0} | {figure.name: 2.0 for figure in many}
    assert figures(event, None, many) == ["loss 1.0000", *(f"figure {n} 2.0000" for n in range(6))]
    assert figures(event, None) == ["loss 1.0000"]
    assert (
        describe({"event": "eval", "step": 1, "validation_rate": 0.5}, [Figure("rate")])
        == "step 1: validation rate 0.5000"
    )
    assert describe({"event": "eval", "step": 1, "validation_rate": 0.5}) is None


def test_trackers_are_told_of_them() -> None:
    step = {"event": "step", "time": 1.0, "step": 3, "max_steps": 9, "epoch": 0.5, "loss": 0.5, "reward_margin": 0.25}
    assert payload.measured(step | {"framework": {"a": 1}, "text": "b", "flag": True}) == (
        3,
        {"loss": 0.5, "epoch": 0.5, "reward_margin": 0.25, "framework/a": 1.0},
    )
    validation = {"event": "eval", "time": 1.0, "step": 3, "epoch": 0.5, "validation_reward_margin": 0.125}
    assert payload.measured(validation) == (3, {"validation_reward_margin": 0.125})


@pytest.mark.parametrize("odd", [Figure("step"), Figure("seconds"), "reward_margin"])
def test_an_algorithm_with_a_figure_that_is_none_is_refused(odd: Any) -> None:
    class Odd(SFTAlgorithm):
        figures: ClassVar[Any] = (Figure("rate"), odd)

    assert issubclass(Odd, Algorithm)
    assert repr(odd) in (Odd.problem() or "")
