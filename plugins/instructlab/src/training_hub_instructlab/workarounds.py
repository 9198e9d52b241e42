"""The places where instructlab-training 0.16 has no public interface for what the hub promises: one function each.

Each replaces one name that the framework's training script is about to import. They are called in the worker, before
the script runs; nothing happens on import.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from training_hub_instructlab.steps import Progress, Step


def share_out_padded_rows_evenly() -> None:
    """Give every rank the same number of forward passes where there is no FlashAttention. For 0.16.

    The framework's packer for padded rows balances tokens and lets ranks have different numbers of passes. Each pass
    gathers sharded weights from all ranks, so that the rank with more passes waits forever for the others. A rank with
    fewer gets passes over the framework's own dummy row, which trains nothing, as does a rank with no row at all.
    """
    from instructlab.training import sampler

    packer = sampler.batch_lengths_to_minibatches_padded

    def even(lengths: list[int], most_tokens: int, ranks: int, rank: int) -> list[list[int]]:
        shares = [packer(lengths, most_tokens, ranks, each) for each in range(ranks)]
        passes = max(map(len, shares))
        return [*shares[rank], *([-1] for _ in range(passes - len(shares[rank])))]

    # Compiled once here, and not again in each of the eight processes that load rows.
    packer([1], 1, 1, 0)
    sampler.batch_lengths_to_minibatches_padded = even


def keep_its_trackers_off() -> None:
    """Make the framework not track by itself, since the hub does. For 0.16.

    It takes these variables for a wish, whatever its arguments say.
    """
    for name in ("WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        os.environ.pop(name, None)


def observe_steps(progress: Progress) -> None:
    """Count optimizer steps, and see the learning rate and the gradients' norm of each. For 0.16.

    The framework reports the learning rate of the step to come, and no norm with FSDP.
    """
    from instructlab.training import accelerator

    framework: Any = accelerator.Accelerator

    class Observed(framework):  # type: ignore[misc]
        def take_optimizer_step(self) -> None:
            self.step_at_hand = Step(self.optimizer.param_groups[0]["lr"])
            super().take_optimizer_step()
            progress.done += 1
            progress.taken = self.step_at_hand

        def clip_grad_norm_(self, *args: Any, **kwargs: Any) -> Any:
            norm = self.accelerator.clip_grad_norm_(*args, **kwargs)
            self.step_at_hand.grad_norm = None if norm is None else float(norm)
            return norm

    accelerator.Accelerator = Observed


def see_each_loss(look: Callable[[float], None]) -> None:
    """See the loss of each step before the weights change; an error that `look` raises ends the run. For 0.16.

    The framework reports a loss after the optimizer step, in a thread where errors are logged and go no further.

    Args:
        look: Called on every rank with the loss over all ranks.
    """
    from instructlab.training import batch_loss_manager

    framework: Any = batch_loss_manager.BatchLossManager

    class Observed(framework):  # type: ignore[misc]
        def process_batch(self, *args: Any, **kwargs: Any) -> Any:
            metrics, loss = super().process_batch(*args, **kwargs)
            look(float(loss))
            return metrics, loss

    batch_loss_manager.BatchLossManager = Observed


def act_before_steps(begin: Callable[[Any], None], before: Callable[[], None]) -> None:
    """Let the hub act before training and before each step, on every rank and in the thread that trains. For 0.16.

    Args:
        begin: Called once, with the framework's model, when it is ready to be trained.
        before: Called before each step.
    """
    from instructlab.training import batch_loss_manager

    framework: Any = batch_loss_manager.BatchLossManager

    class Preceded(framework):  # type: ignore[misc]
        def __init__(self, model: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__(model, *args, **kwargs)
            begin(model)

        def process_batch(self, *args: Any, **kwargs: Any) -> Any:
            before()
            return super().process_batch(*args, **kwargs)

    batch_loss_manager.BatchLossManager = Preceded


def act_after_each_step(act: Callable[..., None]) -> None:
    """Let the hub act after each step: report it, save a checkpoint, end training by an error. For 0.16.

    The framework's callbacks observe, in a thread of their own; its checkpoints come at epochs, or where the rows are
    an exact multiple. With `save_samples=1` it asks for one after every step, on every rank.

    Args:
        act: Called in place of the framework's `save_checkpoint`, with that function first.
    """
    from instructlab.training import utils

    save = utils.save_checkpoint

    def save_checkpoint(**given: Any) -> None:
        act(save, **given)

    utils.save_checkpoint = save_checkpoint


def stay_together() -> Callable[[], None]:
    """Keep the process group when the framework's script ends, so that the ranks can meet once more. For 0.16.

    Returns:
        What ends it.
    """
    from torch import distributed

    end: Callable[[], None] = distributed.destroy_process_group
    distributed.destroy_process_group = lambda *args, **kwargs: None
    return end


def keep_the_tokenizer_as_it_is(trust_remote_code: bool) -> None:
    """Load the model's tokenizer, and save it again, unchanged. For 0.16.

    The framework refuses a tokenizer without a chat template, which documents and prompts need not, and adds special
    tokens, which it would save with the model.
    """
    from instructlab.training import tokenizer_utils
    from transformers import AutoTokenizer

    def setup_tokenizer(model: str, template: str | None = None) -> Any:
        return AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)

    tokenizer_utils.setup_tokenizer = setup_tokenizer
