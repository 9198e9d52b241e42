"""Backends that each break one promise, and the one check that must notice."""

import socket
import subprocess
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from contract_example.backend import DONE, Honest, HonestTwo, OfItsOwn
from training_hub.plugin import Availability, DatasetError, Rule, TrainingFailedError, UserError, exact, run_first

CAUGHT_BY = {}
"""Class to the checks that must fail on it: one, but where one fault is two lies."""


def caught_by(*checks):
    def note(kind):
        CAUGHT_BY[kind.__name__] = checks
        return kind

    return note


class Loops(Honest):
    """A backend whose loop, of the same name in `broken_loops`, breaks the promise."""

    def __init_subclass__(cls):
        cls.loop = f"contract_example.broken_loops:{cls.__name__}"


class LoopsTwo(HonestTwo):
    """The same, with two processes."""

    def __init_subclass__(cls):
        cls.loop = f"contract_example.broken_loops:{cls.__name__}"


# Metadata.


@caught_by("test_its_class_is_made_without_arguments")
class NeedsArguments(Honest):
    def __init__(self, device):
        self.device = device


@caught_by("test_its_algorithms_exist_and_list_it")
class NamesAnUnknownAlgorithm(Honest):
    algorithms = ("sft", "no_such_algorithm")


@caught_by("test_asking_for_availability_imports_no_framework")
class ImportsToSayWhetherItCan(Honest):
    def availability(self):
        import torch

        return Availability(True, torch.__version__)


@caught_by("test_availability_says_why")
class IsSilentlyUnavailable(Honest):
    def availability(self):
        return Availability(False)


# Translation.


@caught_by("test_defaults_are_not_refused")
class RefusesWhatIsTheDefaultAnyway(Honest):
    done = {**DONE, "eps": exact("AdamW.eps", refuse=lambda p: "no epsilon" if p.given("eps") else None)}


@caught_by("test_every_parameter_has_a_rule")
class LeavesAGapInItsTable(Honest):
    gap = "eps"

    def translate(self, parameters):
        found = super().translate(parameters)
        return replace(found, without_rule=(self.gap,))


@caught_by("test_what_users_rely_on_most_is_checked")
class CannotBeStopped(Honest):
    controls = frozenset()


@caught_by("test_every_parameter_has_one_item")
class ForgetsAParameter(Honest):
    def translate(self, parameters):
        found = super().translate(parameters)
        # Where it is given it is refused as it should be.
        forgotten = [item for item in found.items if item.parameter != "eps" or parameters.given("eps")]
        return replace(found, items=tuple(forgotten))


@caught_by("test_a_value_is_translated_or_refused")
class DropsAValue(Honest):
    done = {**DONE, "eps": exact("AdamW.eps", lambda p: 1e-8)}


@caught_by("test_a_value_is_translated_or_refused")
class SaysUnused(Honest):
    done = {**DONE, "use_liger": Rule("unused", note="who knows")}


@caught_by("test_a_value_is_translated_or_refused")
class RefusesWithoutAReason(Honest):
    def translate(self, parameters):
        found = super().translate(parameters)
        silent = [replace(item, note="") if item.parameter == "eps" else item for item in found.items]
        return replace(found, items=tuple(silent))


@caught_by("test_a_value_is_translated_or_refused")
class RefusesNamelessly(Honest):
    def translate(self, parameters):
        if parameters["eps"] != 1e-8:
            raise UserError("something cannot be honoured")
        return super().translate(parameters)


@caught_by("test_the_command_plan_shows_every_parameter")
class CannotBePlanned(Honest):
    def translate(self, parameters):
        return replace(super().translate(parameters), batches={"micro_batch_size": 2})


@caught_by("test_an_unknown_keyword_is_refused")
class IgnoresWhatNobodyKnows(Honest):
    def translate(self, parameters):
        far = "no_such_argument_anywhere"
        further = {
            name: value
            for name, value in parameters.backend_kwargs.items()
            if name != far or parameters["model_path"] != "model"
        }
        return super().translate(replace(parameters, backend_kwargs=further))


@caught_by("test_a_misspelt_name_is_refused_with_the_nearest")
class KnowsNoNearestName(Honest):
    def translate(self, parameters):
        found = super().translate(parameters)
        return replace(found, problems=tuple(problem.partition(" (did you mean")[0] for problem in found.problems))


# Purity.


@caught_by("test_a_translation_is_the_same_twice")
class TranslatesAnotherWayEachTime(Honest):
    times = Counter()

    def translate(self, parameters):
        self.times["translated"] += 1
        times = self.times["translated"]
        self.settings = {**self.settings, "AdamW.foreach": (times, "it counts")}
        return super().translate(parameters)


@caught_by("test_a_translation_is_plain_data")
class TranslatesToObjects(Honest):
    settings = {"AdamW.foreach": ({"somewhere"}, "a set")}


class DoesBesides(Honest):
    def translate(self, parameters):
        self.besides()
        return super().translate(parameters)


@caught_by("test_translating_writes_no_file")
class WritesAFile(DoesBesides):
    def besides(self):
        with tempfile.NamedTemporaryFile():
            pass


@caught_by("test_translating_starts_no_process")
class StartsAProcess(DoesBesides):
    def besides(self):
        subprocess.run(["true"], check=True)


@caught_by("test_translating_opens_no_connection")
class OpensAConnection(DoesBesides):
    def besides(self):
        with socket.socket() as connection, suppress(OSError):
            connection.connect(("127.0.0.1", 9))


@caught_by("test_translating_imports_no_framework")
class ImportsToTranslate(DoesBesides):
    # torch would also write: it looks for a place for temporary files.
    framework = "safetensors"

    def besides(self):
        import safetensors  # noqa: F401


# Training.


@caught_by("test_a_run_completes")
class FailsAtTheEnd(Loops):
    pass


@caught_by("test_the_loss_falls")
class ReportsTheFirstLossForEver(Loops):
    pass


@caught_by("test_the_first_loss_is_the_base_models")
class TakesTheMeanOfMeans(Loops):
    pass


@caught_by("test_the_effective_batch_is_exact")
class DropsTheLastRows(Loops):
    pass


@caught_by("test_the_effective_batch_is_exact")
class TrainsOnFewerRowsThanItSays(Loops):
    pass


@caught_by("test_each_step_has_the_agreed_figures")
class NamesAFigureAnotherWay(Loops):
    pass


@caught_by("test_the_algorithms_own_figures_are_reported")
class KeepsAFigureToItself(OfItsOwn):
    algorithms = ("contract_promising",)


@caught_by("test_each_step_has_the_agreed_figures", "test_the_rates_are_those_of_the_schedule_in_a_run_of_defaults")
class ReportsAnotherLearningRate(Loops):
    pass


@caught_by("test_the_rates_are_those_of_the_schedule_in_a_run_of_defaults")
class TrainsAtAConstantRate(Loops):
    pass


@caught_by("test_every_argument_reaches_the_framework")
class NamesAnArgumentThatNothingReads(Honest):
    done = {**DONE, "weight_decay": exact("Forgotten.weight_decay")}


@caught_by("test_a_checkpoint_is_loaded_by_transformers_alone")
class SavesNoConfig(Loops):
    pass


@caught_by("test_a_checkpoint_is_loaded_by_transformers_alone")
class SavesHalfOfTheWeights(Loops):
    pass


@caught_by("test_a_checkpoint_has_tokenizer_and_template")
class SavesNoTemplate(Loops):
    pass


@caught_by("test_the_saved_models_loss_is_below_the_bases")
class SavesTheBaseModel(Loops):
    pass


@caught_by("test_checkpoints_have_the_hubs_names")
class NamesCheckpointsAnotherWay(Loops):
    pass


@caught_by("test_the_result_is_complete")
class ReturnsNoMetrics(Honest):
    def train(self, run):
        found = super().train(run)
        return replace(found, metrics={"final_loss": found.metrics["loss"]})


@caught_by("test_the_manifest_is_complete")
class NamesAFrameworkThatIsNotThere(Honest):
    framework = "no-such-framework"


# Several processes.


@caught_by("test_two_processes_give_the_losses_of_one")
class TrainsTwoModelsThatNeverMeet(LoopsTwo):
    pass


@caught_by("test_a_failing_worker_reports_its_cause", "test_a_killed_process_ends_the_run")
class HidesTheCause(HonestTwo):
    def train(self, run):
        try:
            return super().train(run)
        except TrainingFailedError as error:
            raise TrainingFailedError("suffered a failure during distributed training") from error


@caught_by("test_a_killed_process_ends_the_run")
class WaitsForTheDead(HonestTwo):
    """Its launcher starts the ranks and waits for the first of them alone."""

    def train(self, run):
        if run.translation.launch is None or run.parameters["num_epochs"] < 100:
            return super().train(run)
        plan = replace(run.translation.launch, torchrun=False)
        run_first(plan, "contract_example.patient", [str(run.job().write())], run.directory.logs)
        raise AssertionError("it ends by being killed")


# Events, callbacks, resumption.


@caught_by("test_the_events_tell_the_whole_run")
class TellsOfNoEpochs(Loops):
    pass


@caught_by("test_callbacks_see_and_stop_the_run")
class IgnoresWhatIsAsked(Loops):
    pass


@caught_by("test_a_stopped_run_goes_on_to_the_same_end")
class ForgetsTheOptimizer(Loops):
    pass


@caught_by("test_callbacks_run_on_every_rank")
class GivesCallbacksNoModel(LoopsTwo):
    pass


# Bad input.


@caught_by("test_weights_that_are_missing_are_not_drawn_at_random")
class DrawsWeightsThatAreMissing(Loops):
    pass


@caught_by("test_a_mistake_is_named_and_leaves_nothing")
class LeavesADirectory(Honest):
    def translate(self, parameters):
        if parameters["model_path"].endswith("no-model"):
            Path(parameters["ckpt_output_dir"]).mkdir()
        return super().translate(parameters)


@caught_by("test_a_mistake_is_named_and_leaves_nothing")
class RaisesWhatItLikes(Honest):
    def translate(self, parameters):
        if parameters["model_path"].endswith("no-model"):
            raise KeyError("model")
        return super().translate(parameters)


@caught_by("test_a_row_that_shows_itself_late_leaves_an_earlier_run")
class LosesTheRowsPlace(Honest):
    def train(self, run):
        try:
            return super().train(run)
        except DatasetError as error:
            raise TrainingFailedError("the data could not be processed") from error
