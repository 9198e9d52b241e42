"""Callbacks that are ready to use."""

import pytest

from training_hub import EarlyStopping, LossSpike, SampleGenerations, TrainingHubContext, sft
from training_hub.errors import CallbackError, ParameterError
from training_hub.store.events import read_events


class Asked:
    """Notes what a callback asks for, in place of a run."""

    def __init__(self):
        self.reasons, self.events = [], []

    def stop(self, reason):
        self.reasons.append(reason)

    def emit(self, event, **fields):
        self.events.append((event, fields))

    def context(self, step, **metrics):
        return TrainingHubContext(
            step=step,
            loss=metrics.get("loss"),
            metrics=metrics,
            run_control=self,
            can=frozenset({"stop"}),
            emit=self.emit,
        )


def test_a_run_stops_once_its_figure_no_longer_falls():
    asked, stopping = Asked(), EarlyStopping(patience=2, min_delta=0.1)
    for step, loss in enumerate((3.0, 2.0, 1.95, 1.8, 1.75), start=1):
        stopping.on_evaluate(asked.context(step, validation_loss=loss))
        stopping.on_log(asked.context(step, loss=9.0))
    assert not asked.reasons and (stopping.best, stopping.best_step) == (1.8, 4)
    stopping.on_evaluate(asked.context(6, validation_loss=1.79))
    assert asked.reasons == ["validation_loss has not fallen below 1.8, of step 4"]


def test_a_figure_of_validations_of_which_more_is_better_may_be_the_one():
    asked, stopping = Asked(), EarlyStopping("validation_reward_margin", patience=1, less_is_better=False)
    for step, margin in enumerate((0.1, 0.3), start=1):
        stopping.on_evaluate(asked.context(step, validation_reward_margin=margin))
    assert not asked.reasons
    stopping.on_evaluate(asked.context(3, validation_reward_margin=0.2))
    assert asked.reasons == ["validation_reward_margin has not risen above 0.3, of step 2"]


def test_early_stopping_ends_a_real_run(job):
    result = sft(**job, callbacks=EarlyStopping("loss", patience=3, min_delta=0.01))
    assert result.state == "stopped" and result.metrics["step"] < 400


def test_a_figure_that_is_not_there_is_named(job):
    with pytest.raises(CallbackError, match=r"metric='los'\): there is no such figure, but step, .*loss"):
        sft(**job, callbacks=EarlyStopping("los"))


def test_a_loss_far_above_those_before_is_told():
    asked, spike = Asked(), LossSpike(factor=2, window=3)
    for step, loss in enumerate((9.0, 1.0, 1.1, 2.1, 2.5, 1.0), start=1):
        spike.on_log(asked.context(step, loss=loss))
    [(event, fields)] = asked.events
    assert (event, fields["step"]) == ("warning", 5)
    stopping = LossSpike(factor=2, window=1, action="stop")
    for step, loss in enumerate((1.0, 3.0), start=1):
        stopping.on_log(asked.context(step, loss=loss))
    assert asked.reasons == ["the loss of step 2 is 3.0000, and was about 1.0000 before"]


def test_what_a_callback_says_is_an_event_of_the_run(job):
    class Says(LossSpike):
        def on_log(self, context):
            if context.step == 3:
                self._spike(context, "look here")

    sft(**job, callbacks=Says())
    told = [event for event in read_events(job["ckpt_output_dir"] / "events.jsonl") if event["event"] == "warning"]
    assert [(event["step"], event["message"]) for event in told] == [(3, "look here")]


@pytest.mark.parametrize(
    "make",
    [
        lambda: EarlyStopping(patience=0),
        lambda: EarlyStopping(min_delta=-1),
        lambda: LossSpike(factor=1),
        lambda: LossSpike(window=0),
        lambda: LossSpike(action="shout"),
        lambda: SampleGenerations([], every=1),
        lambda: SampleGenerations("one text", every=1),
        lambda: SampleGenerations([""], every=1),
        lambda: SampleGenerations([[{"role": "user"}]], every=1),
        lambda: SampleGenerations(["a"], every=0),
        lambda: SampleGenerations(["a"], every=1, max_new_tokens=0),
    ],
)
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(ParameterError, match="expected"):
        make()
