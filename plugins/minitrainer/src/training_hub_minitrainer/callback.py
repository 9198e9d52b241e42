"""The callback that mini-trainer gets. It takes the text of the class alone, so the class needs nothing around it."""

from __future__ import annotations

from mini_trainer.callbacks import TrainerCallback, TrainingContext


class HubCallback(TrainerCallback):  # type: ignore[misc]  # it has no types
    """Hands every call over to `training_hub_minitrainer.reporting`, in the same process."""

    def on_train_begin(self, context: TrainingContext) -> None:
        from training_hub_minitrainer import reporting

        reporting.receive(context)

    on_epoch_begin = on_log = on_evaluate = on_save = on_epoch_end = on_train_end = on_train_begin
