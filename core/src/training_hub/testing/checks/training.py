"""A real run on tiny rows: what it reports is true, and what it saves is loaded by transformers alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from training_hub.backends.base import FrameworkBackend
from training_hub.backends.batches import BatchPlan
from training_hub.backends.job import NEVER_READ
from training_hub.plugins.registry import AlgorithmRegistry
from training_hub.store.result import TrainingResult
from training_hub.testing.checks.schedule import expected_rates
from training_hub.testing.checks.subject import LEARN_ROWS, Subject, run_of, trainable
from training_hub.testing.reference import Measured
from training_hub.testing.runs import BATCH, EPOCHS, ROWS, Runs, Toy, Trained
from training_hub.testing.toy import TEMPLATE

STEPS_AN_EPOCH = math.ceil(ROWS / BATCH)
STEPS = STEPS_AN_EPOCH * EPOCHS
LEAST_FALL = 0.1
"""Nats by which the loss falls at least; the toy's falls by more than one in these steps when all weights learn."""


class Training(Subject):
    """Checks of one run with one process."""

    @pytest.fixture(scope="class")
    @classmethod
    def measured(cls, runs: Runs, toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Measured]:
        """The base and the final checkpoint of every algorithm, measured by transformers alone."""
        made = (
            runs.ready(name, "main") for name in cls.checked_algorithms() if issubclass(cls.kind(), FrameworkBackend)
        )
        finals = [final for found in made if found and (final := _final(found)) is not None]
        return cls.measure(toy, [toy.model, *finals], tmp_path_factory.mktemp("measured"))

    def test_a_run_completes(self, loads: None, runs: Runs, algorithm: str) -> None:
        trainable(type(self), algorithm)
        run_of(runs, algorithm, "main")

    def test_the_loss_falls(self, trained: Trained, algorithm: str) -> None:
        losses = trained.losses
        assert losses, "no event `step` has a loss"
        least = self.least_fall.get(algorithm, LEAST_FALL)
        assert losses[-1] < losses[0] - least, f"from step to step: {losses}"

    def test_the_rates_are_those_of_the_schedule_in_a_run_of_defaults(
        self, trained: Trained, runs: Runs, algorithm: str
    ) -> None:
        found = run_of(runs, algorithm, "defaults")
        values = {name: entry["value"] for name, entry in found.manifest["parameters"].items()}
        rates = [event.get("learning_rate") for event in found.steps]
        assert rates, "no event `step` has a learning_rate"
        expected = expected_rates(values, found.steps[-1]["max_steps"])
        if expected is None:
            pytest.skip(f"{algorithm} declares no learning_rate and lr_scheduler whose formula the kit knows")
        assert rates == pytest.approx(expected, rel=1e-3, abs=values["learning_rate"] * 1e-6), (
            f"learning_rate of each step; run.json says lr_scheduler={values['lr_scheduler']!r}, "
            f"learning_rate={values['learning_rate']}, warmup_steps={values.get('warmup_steps', 0)}, "
            f"lr_scheduler_kwargs={values.get('lr_scheduler_kwargs')}"
        )

    def test_every_argument_reaches_the_framework(self, trained: Trained) -> None:
        idle = [event["message"] for event in trained.of_kind("warning") if event["message"].startswith(NEVER_READ)]
        assert not idle, f"the translation names arguments that the backend never reads: {idle[0]}"

    def test_the_first_loss_is_the_base_models(
        self, translates: None, runs: Runs, measured: dict[Path, Measured], toy: Toy, algorithm: str
    ) -> None:
        trainable(type(self), algorithm)
        expected = self.first_loss(algorithm, measured[toy.model]["loss"])
        if expected is None:
            pytest.skip(f"{algorithm}: give what its first loss must be in `first_loss` of the test class")
        found = run_of(runs, algorithm, "whole")
        first = found.losses[0]
        assert first == pytest.approx(expected, abs=self.same_loss()), (
            f"all rows are in the one step, whose loss is {first}, and the base model's is {expected}, in nats a "
            "trained token: a mean over all trained tokens of the step, not a mean of micro-batches' means, and "
            "nothing else added"
            if algorithm in LEARN_ROWS
            else f"all rows are in the one step, whose loss is {first}, and `first_loss` says {expected}"
        )

    def test_the_effective_batch_is_exact(self, trained: Trained, algorithm: str) -> None:
        assert [event["step"] for event in trained.steps] == list(range(1, STEPS + 1)), (
            f"{ROWS} rows by {BATCH} make {STEPS_AN_EPOCH} steps in each of {EPOCHS} epochs"
        )
        [start] = trained.of_kind("start")
        told = {
            name: start.get(name) for name in ("rows", "max_steps", "num_epochs", "world_size", "effective_batch_size")
        }
        assert told == {
            "rows": ROWS,
            "max_steps": STEPS,
            "num_epochs": EPOCHS,
            "world_size": 1,
            "effective_batch_size": BATCH,
        }
        ends = [event["tokens"] for event in trained.steps[STEPS_AN_EPOCH - 1 :: STEPS_AN_EPOCH]]
        assert ends == [ends[0] * epoch for epoch in range(1, EPOCHS + 1)], f"tokens after each epoch: {ends}"
        cut = self.translated(algorithm, **trained.asked).batches
        if isinstance(cut, BatchPlan):
            assert cut.micro_batch_size * cut.gradient_accumulation_steps * cut.world_size == BATCH

    def test_each_step_has_the_agreed_figures(self, trained: Trained) -> None:
        steps = trained.steps
        for name in ("step", "max_steps", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second"):
            values = [event.get(name) for event in steps]
            assert all(_is_number(value) for value in values), f"{name} of each step: {values}"
        for name in ("loss", "grad_norm", "tokens", "tokens_per_second"):
            assert all(event[name] > 0 for event in steps), f"{name}: {[event[name] for event in steps]}"
        for name in ("epoch", "tokens", "time"):
            rising = [event[name] for event in steps]
            assert rising == sorted(rising), f"{name} falls: {rising}"
        assert {event["max_steps"] for event in steps} == {steps[-1]["step"]}
        assert steps[-1]["epoch"] == pytest.approx(EPOCHS)
        rates = [event["learning_rate"] for event in steps]
        peak = trained.asked["learning_rate"]
        if "lr_scheduler" in trained.asked:
            assert rates == pytest.approx([peak] * len(rates)), f"learning_rate, asked to be constant: {rates}"
        assert 0 < max(rates) <= peak * (1 + 1e-6), f"learning_rate: {rates}"

    def test_the_algorithms_own_figures_are_reported(self, trained: Trained, algorithm: str) -> None:
        told = {name for event in (*trained.steps, *trained.of_kind("eval")) for name in event}
        figures = AlgorithmRegistry.get_algorithm(algorithm).figures
        missing = [each.name for each in figures if not told & {each.name, each.of_validation().name}]
        assert not missing, (
            f"{algorithm} declares the figures {', '.join(missing)}, and no event has them; where validations alone "
            "have one, let the runs validate, by `parameters` of the test class"
        )

    def test_a_checkpoint_is_loaded_by_transformers_alone(
        self, trained: Trained, measured: dict[Path, Measured]
    ) -> None:
        final = _final(trained)
        assert final is not None, f"the result's checkpoint is no directory: {_of(trained.result, 'checkpoint')!r}"
        assert "error" not in measured[final], f"{final}: {measured[final].get('error')}"
        pickles = [path.name for path in final.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl")]
        assert not pickles, f"{final} holds pickles, which can run code: {pickles}"

    def test_a_checkpoint_has_tokenizer_and_template(self, trained: Trained, measured: dict[Path, Measured]) -> None:
        found = measured[_final_or_skip(trained)]
        assert "template_error" not in found, f"the tokenizer cannot be loaded: {found.get('template_error')}"
        assert found["template"] == TEMPLATE, "the chat template is not the base model's"

    def test_the_saved_models_loss_is_below_the_bases(
        self, trained: Trained, measured: dict[Path, Measured], toy: Toy, algorithm: str
    ) -> None:
        if algorithm not in LEARN_ROWS:
            pytest.skip(f"{algorithm} does not learn the rows that the kit measures on")
        found, base = measured[_final_or_skip(trained)], measured[toy.model]["loss"]
        if "loss" not in found:
            pytest.skip("the checkpoint cannot be loaded: see test_a_checkpoint_is_loaded_by_transformers_alone")
        assert found["loss"] < base - LEAST_FALL, f"of all rows, by transformers: {found['loss']}; the base's is {base}"

    def test_checkpoints_have_the_hubs_names(self, trained: Trained) -> None:
        here = {path.name for path in trained.directory.iterdir() if path.is_dir()}
        assert "final" in here, f"ckpt_output_dir holds {sorted(here)}"
        saved = {Path(event["checkpoint"]).name for event in trained.of_kind("save")}
        assert "final" in saved, f"events `save` name {sorted(saved)}"
        if not trained.asked.get("checkpoint_at_epoch"):
            pytest.skip(f"{self.backend} refuses checkpoint_at_epoch")
        ends = [event["step"] for event in trained.steps if math.isclose(event["epoch"], round(event["epoch"]))]
        expected = {f"checkpoint-{step}" for step in ends}
        # At the end of the last epoch there is `final`; some backends save both.
        expected_least = expected - {f"checkpoint-{ends[-1]}"}
        found = {name for name in here if name.startswith("checkpoint")}
        assert expected_least <= found <= expected, f"checkpoint_at_epoch leaves {sorted(found)}"
        assert expected_least <= saved - {"final"} <= expected, f"events `save` name {sorted(saved)}"
        for name in sorted(found):
            assert list((trained.directory / name).glob("*.safetensors")), f"{name} holds no *.safetensors"

    def test_the_result_is_complete(self, trained: Trained) -> None:
        result = trained.result
        assert isinstance(result, TrainingResult), f"train() returns {type(result).__name__}; expected a TrainingResult"
        assert result.backend == self.backend
        assert Path(result.run_dir) == trained.directory
        assert result.checkpoint == trained.directory / "final"
        last = trained.steps[-1]
        for name in ("loss", "step", "epoch", "tokens"):
            assert result.metrics.get(name) == last.get(name), (
                f"metrics[{name!r}] is {result.metrics.get(name)!r}, and the last step's event says {last.get(name)!r}"
            )
        ends = trained.of_kind("end")
        assert len(ends) == 1 and ends[0].get("metrics"), "the run has no event `end` with the metrics"

    def test_the_manifest_is_complete(self, trained: Trained, algorithm: str) -> None:
        found = trained.manifest
        expected = {"state": "completed", "algorithm": algorithm, "backend": self.backend}
        assert {name: found.get(name) for name in expected} == expected
        declared = self.declared(algorithm)
        shown = {name for name, parameter in declared.items() if not parameter.secret}
        assert found.get("parameters", {}).keys() == shown, "run.json does not name every parameter"
        assert found["parameters"]["learning_rate"] == {"value": trained.asked["learning_rate"], "origin": "call"}
        assert found.get("data", {}).get("rows") == ROWS
        assert found.get("arguments"), "run.json does not hold the framework's arguments"
        assert found.get("checkpoint") == str(trained.directory / "final")
        framework = self.kind().framework
        if framework:
            assert found.get("versions", {}).get(framework), f"run.json does not say which {framework} trained"


def _of(result: Any, name: str) -> Any:
    return getattr(result, name, None)


def _final(trained: Trained) -> Path | None:
    path = _of(trained.result, "checkpoint")
    return Path(path) if path is not None and Path(path).is_dir() else None


def _final_or_skip(trained: Trained) -> Path:
    final = _final(trained)
    if final is None:
        pytest.skip("there is no final checkpoint: see test_a_checkpoint_is_loaded_by_transformers_alone")
    return final


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
