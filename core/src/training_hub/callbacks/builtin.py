"""Callbacks that are ready to use."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from training_hub.callbacks.callback import TrainingHubCallback, TrainingHubContext
from training_hub.errors import ParameterError


class EarlyStopping(TrainingHubCallback):
    """Stops a run whose figure has not become better for some time.

    Args:
        metric: `validation_loss`, or another figure of validations by its name (`validation_...`), looked at after each
            of them; or a step's, such as `loss`.
        patience: How many of these in a row may bring no improvement.
        min_delta: Least change that counts as an improvement, in the figure's own unit.
        less_is_better: Whether a fall of the figure is an improvement, or a rise.

    Attributes:
        best: The best figure so far.
        best_step: The step it is of.
    """

    def __init__(
        self,
        metric: str = "validation_loss",
        patience: int = 3,
        min_delta: float = 0.0,
        *,
        less_is_better: bool = True,
    ) -> None:
        if patience < 1:
            raise ParameterError(f"EarlyStopping(patience={patience!r}): expected at least 1")
        if min_delta < 0:
            raise ParameterError(f"EarlyStopping(min_delta={min_delta!r}): expected 0 or more")
        self.metric, self.patience, self.min_delta = metric, patience, min_delta
        self.less_is_better = less_is_better
        self.best = math.inf if less_is_better else -math.inf
        self.best_step: int | None = None
        self._idle = 0

    def on_log(self, context: TrainingHubContext) -> None:
        if not self.metric.startswith("validation_"):
            self._look(context)

    def on_evaluate(self, context: TrainingHubContext) -> None:
        if self.metric.startswith("validation_"):
            self._look(context)

    def _look(self, context: TrainingHubContext) -> None:
        value = context.metrics.get(self.metric)
        if not isinstance(value, int | float):
            known = ", ".join(name for name, figure in context.metrics.items() if isinstance(figure, int | float))
            raise ParameterError(f"EarlyStopping(metric={self.metric!r}): there is no such figure, but {known}")
        gain = self.best - value if self.less_is_better else value - self.best
        if gain > self.min_delta:
            self.best, self.best_step, self._idle = float(value), context.step, 0
            return
        self._idle += 1
        if self._idle >= self.patience:
            better = "fallen below" if self.less_is_better else "risen above"
            context.stop(f"{self.metric} has not {better} {self.best:.6g}, of step {self.best_step}")


class LossSpike(TrainingHubCallback):
    """Notices a loss far above those of the steps before.

    Args:
        factor: How many times the median of the last losses counts as a spike.
        window: How many losses that median is of; before there are so many, nothing is said.
        action: `warn`, with an event that every reader of the run sees, or `stop`.
    """

    def __init__(self, factor: float = 2.0, window: int = 20, action: Literal["warn", "stop"] = "warn") -> None:
        if not factor > 1:
            raise ParameterError(f"LossSpike(factor={factor!r}): expected a number above 1")
        if window < 1:
            raise ParameterError(f"LossSpike(window={window!r}): expected at least 1")
        if action not in ("warn", "stop"):
            raise ParameterError(f"LossSpike(action={action!r}): expected 'warn' or 'stop'")
        self.factor, self.action = factor, action
        self._losses: deque[float] = deque(maxlen=window)

    def on_log(self, context: TrainingHubContext) -> None:
        loss = context.loss
        assert loss is not None
        if len(self._losses) == self._losses.maxlen:
            usual = sorted(self._losses)[len(self._losses) // 2]
            if loss > self.factor * usual:
                self._spike(context, f"the loss of step {context.step} is {loss:.4f}, and was about {usual:.4f} before")
        self._losses.append(loss)

    def _spike(self, context: TrainingHubContext, said: str) -> None:
        if self.action == "stop":
            context.stop(said)
        elif context.emit is not None:
            context.emit("warning", step=context.step, message=said)


class SampleGenerations(TrainingHubCallback):
    """Lets the model that is trained answer prompts, so that its answers can be compared as it learns.

    It answers before the first step, after every so many and after the last one, greedily, in an event `samples` that
    the report shows. Training is left as it would be without.

    Args:
        prompts: Each a text, or a list of messages (`role`, `content`). A text is a user's message where the tokenizer
            has a chat template, and what is to be continued where it has none.
        every: Optimizer steps between two times.
        max_new_tokens: Longest answer, in tokens. With several processes each answer takes the time of the longest.
    """

    run_on_all_ranks: ClassVar[bool] = True

    def __init__(self, prompts: Sequence[str | list[dict[str, Any]]], every: int, max_new_tokens: int = 64) -> None:
        if isinstance(prompts, str) or not prompts or not all(map(_is_prompt, prompts)):
            raise ParameterError(
                f"SampleGenerations(prompts={prompts!r}): expected a list of texts, or of lists of messages with role "
                f"and content"
            )
        if every < 1:
            raise ParameterError(f"SampleGenerations(every={every!r}): expected at least 1")
        if max_new_tokens < 1:
            raise ParameterError(f"SampleGenerations(max_new_tokens={max_new_tokens!r}): expected at least 1")
        self.prompts, self.every, self.max_new_tokens = list(prompts), every, max_new_tokens
        self._sampled_at: int | None = None

    def on_train_begin(self, context: TrainingHubContext) -> None:
        self._sample(context)

    def on_step_end(self, context: TrainingHubContext) -> None:
        if context.step % self.every == 0:
            self._sample(context)

    def on_train_end(self, context: TrainingHubContext) -> None:
        if self._sampled_at != context.step:
            self._sample(context)

    def _sample(self, context: TrainingHubContext) -> None:
        from training_hub.callbacks.generation import answer, prompt_text, undisturbed

        self._sampled_at = context.step
        model, tokenizer = context.model, context.tokenizer
        with undisturbed(model):
            answers = [
                answer(model, tokenizer, prompt, self.max_new_tokens, alone=context.world_size == 1)
                for prompt in self.prompts
            ]
        if context.is_main_process and context.emit is not None:
            samples = [
                {"prompt": prompt_text(prompt), "completion": said}
                for prompt, said in zip(self.prompts, answers, strict=True)
            ]
            context.emit("samples", step=context.step, samples=samples)


def _is_prompt(prompt: object) -> bool:
    if isinstance(prompt, list):
        return bool(prompt) and all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in prompt)
    return isinstance(prompt, str) and bool(prompt)
