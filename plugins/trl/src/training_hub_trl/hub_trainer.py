"""What TRL's trainers become in the hub: its order of rows, its part in the loop, its checkpoints.

`HubTrainer` holds what does not depend on what is learned. A subclass puts it before one of TRL's trainers, and says
how a loss is computed and validated:

    class HubSFTTrainer(HubTrainer, SFTTrainer): ...
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from peft import PeftModel
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedTokenizerBase, PrinterCallback, Trainer, TrainingArguments

from training_hub.plugin import Job, precisions, weights_alone
from training_hub_trl.adapters import name_base
from training_hub_trl.order import EpochOrder
from training_hub_trl.osft import dense_state_dict, is_decomposed
from training_hub_trl.saving import held_bytes, save_settings, save_weights
from training_hub_trl.splits import Splits
from training_hub_trl.state import load_exact, save_exact
from training_hub_trl.trainer_loop import TrainerLoop


class HubTrainer(Trainer):
    """A trainer on rows that the hub has made."""

    figures: ClassVar[Mapping[str, str]] = {}
    """The algorithm's own figures, each with the name that the trainer logs it under."""

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        tokenizer: PreTrainedTokenizerBase,
        rows: Splits,
        loop: TrainerLoop,
        **own: Any,
    ) -> None:
        """Args:
        model: What is trained, loaded.
        args: The trainer's arguments.
        tokenizer: The model's.
        rows: Training and validation rows.
        loop: The hub's part, made before the model was loaded.
        **own: What the trainer of TRL takes besides.
        """
        self.rows = rows
        self.loop = loop
        self.job: Job = loop.job
        self._weights_of: int | None = None
        """The last step whose weights were saved."""
        if isinstance(model, PeftModel):
            name_base(model, self.job)
        self.order = EpochOrder(rows.train_count, len(rows.train), args.seed)
        # transformers adds it by itself within Kubeflow, where the hub tells of the run.
        args.report_to = [name for name in args.report_to if name != "kubeflow"]
        super().__init__(
            model=model,
            args=args,
            train_dataset=rows.train,
            eval_dataset=rows.validation,
            processing_class=tokenizer,
            **own,
        )
        # What fills rows up is looked up like any token, and a tokenizer may know more than the model.
        if getattr(self.data_collator, "pad_token_id", 0) >= model.get_input_embeddings().weight.shape[0]:
            self.data_collator.pad_token_id = 0
        # It prints each figure; whoever wants to read them follows the events.
        self.remove_callback(PrinterCallback)
        loop.join(self, rows, self.order, self.figures)

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:
        return self.order

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        """All trained weights decay, as in the other backends; transformers would leave out norms and biases."""
        return [name for name, _ in model.named_parameters()]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log a step, once its loss was looked at; all processes call this, with the same loss."""
        self.loop.look(logs.get("loss", 0.0), self.state.global_step)
        super().log(logs, *args, **kwargs)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint that counts only once every process has written its part, and then make room."""
        step = self.state.global_step
        there = self.loop.keeper.is_complete(step)
        self.accelerator.wait_for_everyone()
        if there:
            return
        try:
            super()._save_checkpoint(*args, **kwargs)
        except Exception as error:
            saved = self._weights_of == step
            raise self.loop.keeper.not_saved(step, error, held_bytes(self.model), weights=saved) from error
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            self.loop.keeper.complete(step, resumable=not self.args.save_only_model, tokens=self.loop.tokens)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        if not load_exact(model or self.model, Path(resume_from_checkpoint)):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No card: the manifest of the run says what was trained, and how."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        directory = Path(output_dir or self.args.output_dir)
        model = self.accelerator.unwrap_model(self.model)
        if not self.args.should_save:
            return
        if isinstance(model, PeftModel) and not is_decomposed(model):
            model.save_pretrained(str(directory), state_dict=state_dict)
            self._weights_of = self.state.global_step
        else:
            self._save_dense(model, directory, state_dict)
        self.processing_class.save_pretrained(directory)

    def _save_dense(self, model: Any, directory: Path, weights: dict[str, Any] | None) -> None:
        base = self.loop.base
        plain, decomposed = model, is_decomposed(model)
        if decomposed:
            weights, plain = dense_state_dict(model), model.get_base_model()
        save_weights(plain, directory, plain.state_dict() if weights is None else weights, base)
        self._weights_of = self.state.global_step
        rounded = decomposed or (base is not None and set(precisions(base).values()) - {"float32"})
        if rounded and not self.is_fsdp_enabled and _is_checkpoint(directory):
            save_exact(model, directory)
        save_settings(plain, directory, base)

    def keep_weights(self) -> None:
        """Something failed: save the weights of the last step, if they are whole and no checkpoint has them."""
        step, keeper = self.state.global_step, self.loop.keeper
        # Sharded ones would have to be gathered from processes that may be gone.
        if not (self.loop.between_steps and self.args.should_save) or self.is_fsdp_enabled or keeper.is_complete(step):
            return
        place = keeper.path(step)
        try:
            self._save(str(place))
            keeper.complete(step, resumable=False)
        # What failed first is what is told.
        except Exception as error:
            shutil.rmtree(place, ignore_errors=True)
            self.loop.reporter.warn(
                f"the weights of step {step} could not be saved: {type(error).__name__}: {error}", step
            )

    def save_final(self) -> Path:
        """Save the trained model on its own, without what is needed only to go on training.

        Raises:
            TrainingFailedError: Its weights are saved, and what goes with them cannot be.
        """
        directory = self.job.directory.final
        self._weights_of = None
        try:
            self.save_model(str(directory))
        except Exception as error:
            if self._weights_of is None:
                raise
            raise weights_alone(directory, error) from error
        self.loop.reporter.saved(self.state.global_step, directory)
        return directory


def _is_checkpoint(directory: Path) -> bool:
    return directory.name.startswith("checkpoint-")
