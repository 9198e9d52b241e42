"""The places where mini-trainer 0.9 has no public interface for what the hub promises: one function or class each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_hub.plugin import Stopped

if TYPE_CHECKING:
    from training_hub_minitrainer.loop import Loop


def take_part_in(loop: Loop) -> None:
    """Have the framework's loop call the hub's, in the thread that trains and on every rank. For 0.9.

    Its own CallbackManager calls from a thread beside the loop, where nothing can be saved or stopped, and lets errors
    go. The loop takes another manager as an argument, but `main` makes that one; and what the loop knows of the saves
    and validations so far, which belongs into a state to resume from, it keeps to itself.
    """
    from mini_trainer import train as module

    framework: Any = module
    train = framework.train

    def noted(kind: Callable[..., Any], name: str) -> Callable[..., Any]:
        def make(**given: Any) -> Any:
            setattr(loop, name, kind(**given))
            return getattr(loop, name)

        return make

    def take_part(**given: Any) -> None:
        loop.take(given)
        with contextlib.suppress(Stopped):
            train(**given | {"data_loader": loop.data_loader, "callback_manager": loop})
        # The processes part right after this.
        loop.leave()

    framework.Checkpointer = noted(framework.Checkpointer, "checkpointer")
    framework.ValidationScheduler = noted(framework.ValidationScheduler, "validation_scheduler")
    framework.train = take_part


def keep_the_embeddings_as_they_are() -> None:
    """Leave embeddings at their size where the tokenizer knows more tokens. For 0.9.

    The framework makes them larger by rows of no meaning, which take part in the loss, and saves them. Rows that have
    such tokens are refused by the hub.
    """
    from mini_trainer import setup_model_for_training as module
    from transformers import PreTrainedModel

    align = module.align_model_and_tokenizer

    def keep_size(model: Any, tokenizer: Any) -> Any:
        model_class: Any = PreTrainedModel
        resize = model_class.resize_token_embeddings
        config, rows = model.config.get_text_config(), model.get_input_embeddings().weight.shape[0]
        padding = config.pad_token_id
        model_class.resize_token_embeddings = lambda self, *args, **kwargs: self.get_input_embeddings()
        try:
            aligned = align(model, tokenizer)
        finally:
            model_class.resize_token_embeddings = resize
        # Rows lie one behind another, unpadded; the model of OSFT is made from this, and there must be such a token.
        if (config.pad_token_id or 0) >= rows:
            config.pad_token_id = padding
        return aligned

    module.align_model_and_tokenizer = keep_size


def save_tied_weights() -> None:
    """Save a model whose embeddings are its head, too. For 0.9.

    The framework hands one tensor over under both names, and safetensors refuses that: after the last step, where the
    weights are lost. Here each name has its own; `mend` leaves out the second one.
    """
    from safetensors import torch as module

    save = module.save_file

    def save_file(tensors: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        seen: set[int] = set()
        apart = {}
        for name, tensor in tensors.items():
            place = tensor.untyped_storage().data_ptr()
            apart[name] = tensor.clone() if place in seen else tensor
            seen.add(place)
        save(apart, *args, **kwargs)

    module.save_file = save_file


class RowsFrom:
    """A data loader for a run that is resumed after some steps. For 0.9.

    The framework passes over the batches of all steps done, but counts them anew in each epoch: from the end of the
    first epoch on it would train on nothing. Here the first pass has the steps of all earlier epochs in front, empty.
    And it draws a random number for each pass over the rows, which a run that was not interrupted had drawn before.
    """

    def __init__(self, loader: Any, step: int, state: Path, rank: int) -> None:
        self._loader = loader
        self._before, self._within = divmod(step, len(loader))
        self._state = state
        self._rank = rank
        self._first = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        first, self._first = self._first, False
        if not first:
            yield from self._loader
            return
        from mini_trainer.full_state_checkpoint import FullStateCheckpointer

        yield from [None] * len(self._loader) * self._before
        for index, batch in enumerate(self._loader):
            if index == self._within > 0:
                FullStateCheckpointer.load_rng_states(self._state, self._rank)
            yield batch


def load_whole_weights(model: Any, state: Path) -> None:
    """Load the weights of a state where they are trained whole. For 0.9.

    There the framework does so for OSFT alone, and would go on from the base model with the optimizer's state.
    """
    import torch.distributed.checkpoint as dcp

    # The tensors share the memory of the model's, which are written in place.
    dcp.load({"model": model.state_dict()}, checkpoint_id=str(state / "distributed"))


def use_rates_of(scheduler: Any, optimizer: Any) -> None:
    """Give the optimizer the learning rates of a schedule that was loaded. For 0.9.

    The framework loads no rates into the optimizer: its first step would be one of the schedule's start.
    """
    for group, rate in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True):
        group["lr"] = rate


def note_rate(value: float, scheduler: Any) -> None:
    """Have the schedule report a learning rate that was set beside it. For 0.9, which asks the schedule for it."""
    scheduler._last_lr = [value] * len(scheduler._last_lr)
