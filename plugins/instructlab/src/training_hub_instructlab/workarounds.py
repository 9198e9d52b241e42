"""The places where instructlab-training 0.16 has no public interface for what the hub promises: one function each.

Each replaces names that the framework's training script is about to import. They are called in the worker, before the
script runs; nothing happens on import.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training_hub_instructlab.loop import Loop


def take_part_in(loop: Loop) -> None:
    """Have the framework's loop call the hub's, in the thread that trains and on every rank. For 0.16.

    Its own CallbackManager calls from a thread beside the loop, where nothing can be saved or stopped, and errors are
    logged and go no further. Its own checkpoints come at epochs, or where the rows are an exact multiple; with
    `save_samples=1` it asks for one after every step. With FSDP it reports no norm of gradients.
    """
    from instructlab.training import accelerator, callbacks, utils

    framework: Any = accelerator.Accelerator

    class Accelerator(framework):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            loop.accelerator = self

        def clip_grad_norm_(self, *args: Any, **kwargs: Any) -> Any:
            norm = self.accelerator.clip_grad_norm_(*args, **kwargs)
            loop.grad_norm = None if norm is None else float(norm)
            return norm

    accelerator.Accelerator = Accelerator
    callbacks.CallbackManager = lambda: loop
    utils.save_checkpoint = partial(loop.after_step, utils.save_checkpoint)


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


def validate_on(rows: Path) -> None:
    """Have the framework validate on the hub's rows, where it would hold back others of its own choice. For 0.16."""
    from instructlab.training import sampler

    dataset = sampler.TokenDataset
    split = dataset.load_and_split

    def load_and_split(path: str, validation_split: float = 0.0, **given: Any) -> Any:
        return (dataset(path), dataset(str(rows))) if validation_split else split(path, **given)

    dataset.load_and_split = load_and_split


def keep_its_trackers_off() -> None:
    """Make the framework not track by itself, since the hub does. For 0.16.

    It takes these variables for a wish, whatever its arguments say.
    """
    for name in ("WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        os.environ.pop(name, None)


@contextmanager
def together() -> Iterator[None]:
    """Keep the process group when the framework's script ends, so that the ranks can meet once more. For 0.16."""
    from torch import distributed

    end = distributed.destroy_process_group
    distributed.destroy_process_group = lambda *args, **kwargs: None
    try:
        yield
    finally:
        distributed.destroy_process_group = end


def keep_the_embeddings_as_they_are() -> None:
    """Leave embeddings at their size where the tokenizer knows more tokens. For 0.16.

    The framework makes them larger by rows of no meaning, which take part in the loss, and saves them. Rows that have
    such tokens are refused by the hub; a token to pad with may be one, and is then the first of all.
    """
    from instructlab.training import sampler
    from transformers import PreTrainedModel

    model_class: Any = PreTrainedModel
    sizes: list[int] = []

    def resize_token_embeddings(self: Any, *args: Any, **kwargs: Any) -> Any:
        embeddings = self.get_input_embeddings()
        sizes.append(embeddings.weight.shape[0])
        return embeddings

    model_class.resize_token_embeddings = resize_token_embeddings
    collate = sampler.padded_mb_collate_fn

    def padded(minibatch: Any, counted: Any, pad_token_id: int = 0) -> Any:
        return collate(minibatch, counted, 0 if sizes and pad_token_id >= sizes[0] else pad_token_id)

    sampler.padded_mb_collate_fn = padded


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
