"""A backend that learns from votes by counting them, in the caller's process."""

from typing import Annotated, Any, ClassVar

from annotated_types import Ge
from typing_extensions import TypedDict

from training_hub.plugin import (
    CheckpointKeeper,
    ControlReader,
    FrameworkBackend,
    Job,
    Outcome,
    Param,
    Parameters,
    RankCallbacks,
    Run,
    StepReporter,
    TrainingResult,
    Translation,
    by_hub,
    exact,
    hub_rules,
    prepare_rows,
    tell_warnings,
    train_job,
    translate,
)
from training_hub_example.votes import VoteFormat


class CountingParameters(TypedDict, total=False):
    """Counting votes."""

    rounds: Annotated[int, Ge(1), Param(20, "How often the votes are counted.")]


class NoTokenizer:
    """Stands where a model's tokenizer does; votes need none."""

    name_or_path = chat_template = eos_token = None
    is_fast, eos_token_id = True, 0


class CountingBackend(FrameworkBackend):
    """Counts votes."""

    algorithms: ClassVar[tuple[str, ...]] = ("votes",)
    parameters: ClassVar[type | None] = CountingParameters
    controls: ClassVar[frozenset[str]] = frozenset({"stop", "save"})
    callbacks_on_ranks: ClassVar[bool] = True

    def translate(self, parameters: Parameters) -> Translation:
        rules = {
            **hub_rules(None),
            "model_path": by_hub("looked at, and left as it is"),
            "ckpt_output_dir": by_hub("the weights are a number"),
            "trust_remote_code": by_hub("no code is run"),
            "seed": exact("Counter.seed"),
            "strength": exact("Counter.strength"),
            "rounds": exact("Counter.rounds"),
        }
        return translate(self.name, rules, parameters, accepts={"Counter": {"verbose"}}, types={"verbose": bool})

    def train(self, run: Run) -> TrainingResult:
        return train_job(run, run.job(), here=count)


def count(job: Job) -> Outcome:
    """Train: the loss falls with every round."""
    callbacks = RankCallbacks(job)
    reporter = StepReporter(job, callbacks.events)
    keeper = CheckpointKeeper(job, reporter)
    control = ControlReader(job.directory)
    prepared = prepare_rows(job, NoTokenizer(), [VoteFormat()])  # type: ignore[arg-type]
    tokens = sum(row.total_tokens for row in prepared.train)
    tell_warnings([prepared.train], callbacks.events)
    settings: dict[str, Any] = dict(job.arguments["Counter"])
    done, rounds = job.resume_from.step if job.resume_from else 0, settings["rounds"]
    reporter.start(
        rows=prepared.train.report.rows,
        max_steps=rounds,
        num_epochs=rounds,
        world_size=1,
        effective_batch_size=prepared.train.report.rows,
        tokens=done * tokens,
    )
    callbacks.begin("the votes", "characters")
    for step in range(done + 1, rounds + 1):
        callbacks.meet()
        loss = 1.0 / (1 + settings["strength"] * step)
        reporter.step(
            step,
            max_steps=rounds,
            epoch=float(step),
            loss=loss,
            learning_rate=settings["strength"],
            grad_norm=loss,
            tokens=step * tokens,
            agreement=1 - loss,
        )
        reporter.epoch(step, step)
        orders = control.orders()
        if orders.save or orders.stop:
            _save(job, keeper, step)
        if orders.stop and step < rounds:
            reporter.stopped(step, control.reason)
            callbacks.end(reporter.final())
            return Outcome(keeper.path(step), reporter.final())
    job.directory.final.mkdir()
    (job.directory.final / "votes.txt").write_text(str(rounds), encoding="utf-8")
    reporter.saved(rounds, job.directory.final)
    callbacks.end(reporter.final())
    return Outcome(job.directory.final, reporter.final(), live={"model": "the votes"})


def _save(job: Job, keeper: CheckpointKeeper, step: int) -> None:
    keeper.path(step).mkdir(exist_ok=True)
    (keeper.path(step) / "votes.txt").write_text(str(step), encoding="utf-8")
    keeper.complete(step, resumable=True)
