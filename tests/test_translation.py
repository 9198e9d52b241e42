"""Every parameter is translated, applied by the hub, or refused by name."""

import pytest

from training_hub import SFTAlgorithm
from training_hub.backends.hub_rules import hub_rules
from training_hub.backends.translation import approximate, by_hub, exact, refused, translate
from training_hub.errors import ParameterError
from training_hub.launchers.plan import LaunchPlan

NEEDED = {"model_path": "m", "data_path": "d", "ckpt_output_dir": "o"}
RULES = {name: by_hub("somehow") for name in SFTAlgorithm.declared()} | {
    "learning_rate": exact("Args.lr"),
    "num_epochs": exact("Args.steps", lambda p: p["num_epochs"] * 10),
    "warmup_steps": approximate("Args.warmup", "as a share"),
    "max_grad_norm": refused("the framework always clips at 1.0"),
    "use_liger": exact("Args.liger", refuse=lambda p: "there is no GPU" if p["use_liger"] else None),
}
ACCEPTS = {"Args": frozenset({"lr", "momentum"}), "Model": frozenset({"revision"})}


def translated(**values):
    return translate("fake", RULES, SFTAlgorithm.resolve({**NEEDED, **values}), accepts=ACCEPTS)


def item(translation, name):
    [found] = [item for item in translation.items if item.parameter == name]
    return found


def test_each_parameter_has_an_item_and_the_arguments_their_values():
    translation = translated(num_epochs=2, learning_rate=1e-3)
    assert [item.parameter for item in translation.items] == list(SFTAlgorithm.declared())
    assert translation.arguments == {"Args": {"lr": 1e-3, "steps": 20, "warmup": 0, "liger": False}}
    assert item(translation, "num_epochs").how == "exact"
    assert item(translation, "num_epochs").origin == "call"
    assert item(translation, "seed").how == "hub"


def test_a_default_is_never_refused():
    translation = translated(max_grad_norm=1.0)
    assert item(translation, "max_grad_norm").how == "unused"
    translation.raise_for_refusals()


def test_everything_that_cannot_be_honoured_is_refused_at_once_with_the_reason():
    translation = translated(max_grad_norm=0.5, use_liger=True, momentun=0.9, steps_=1)
    assert item(translation, "use_liger").how == "refused"
    with pytest.raises(ParameterError) as raised:
        translation.raise_for_refusals()
    message = str(raised.value)
    assert "max_grad_norm=0.5" in message and "always clips at 1.0" in message
    assert "use_liger=True" in message and "there is no GPU" in message
    assert "momentun" in message and "did you mean 'momentum'" in message
    assert "steps_" in message


def test_the_frameworks_own_arguments_pass():
    translation = translated(momentum=0.9, revision="main")
    assert translation.arguments["Args"]["momentum"] == 0.9
    assert translation.arguments["Model"]["revision"] == "main"


def test_an_argument_that_a_parameter_sets_is_not_set_twice():
    with pytest.raises(ParameterError, match="Args.lr is set from learning_rate"):
        translated(lr=1).raise_for_refusals()


def test_settings_on_purpose_are_shown_and_can_be_changed_by_their_own_name():
    def with_settings(**values):
        parameters = SFTAlgorithm.resolve({**NEEDED, **values})
        settings = {"Args.momentum": (0.1, "because")}
        return translate("fake", RULES, parameters, settings=settings, accepts=ACCEPTS)

    assert with_settings().arguments["Args"]["momentum"] == 0.1
    assert with_settings().settings[0].note == "because"
    assert with_settings(momentum=0.5).arguments["Args"]["momentum"] == 0.5


def test_a_parameter_without_a_rule_is_unused_at_its_default_and_refused_by_name_otherwise():
    rules = {name: rule for name, rule in RULES.items() if name not in ("seed", "max_tokens_per_gpu")}
    left_out = translate("fake", rules, SFTAlgorithm.resolve(NEEDED))
    assert left_out.without_rule == ("seed", "max_tokens_per_gpu")
    assert item(left_out, "seed").how == item(left_out, "max_tokens_per_gpu").how == "unused"
    left_out.raise_for_refusals()
    with pytest.raises(ParameterError, match="seed=7: the fake backend cannot honour it: .*made for an older"):
        translate("fake", rules, SFTAlgorithm.resolve({**NEEDED, "seed": 7})).raise_for_refusals()


def test_what_cannot_be_read_of_a_framework_costs_the_check_of_further_keywords_alone():
    def unread(**values):
        parameters = SFTAlgorithm.resolve({**NEEDED, **values})
        return translate("fake", RULES, parameters, accepts={"Args": {}}, unread=["fake 2: it has no config.py"])

    assert unread().warnings == ("fake 2: it has no config.py: further keywords are not checked",)
    assert unread(momentum=0.5).arguments["Args"]["momentum"] == 0.5
    unread(momentum=0.5).raise_for_refusals()


def test_a_backends_problems_are_told_with_the_others():
    found = translate("fake", RULES, SFTAlgorithm.resolve({**NEEDED, "max_grad_norm": 2.0}), problems=["seed: no"])
    assert len(found.problems) == 2 and "seed: no" in found.problems


def test_the_hubs_own_rules_refuse_several_processes_where_the_callers_trains():
    def refused_of(launch, **values):
        rules = RULES | hub_rules(launch)
        return list(translate("fake", rules, SFTAlgorithm.resolve(NEEDED | values)).problems)

    [problem] = refused_of(None, nproc_per_node=2)
    assert problem == "nproc_per_node=2: the fake backend cannot honour it: one process trains, the caller's own"
    assert refused_of(None, nproc_per_node="auto") == refused_of(None) == []
    assert refused_of(LaunchPlan("worker", 2), nproc_per_node=2) == []
