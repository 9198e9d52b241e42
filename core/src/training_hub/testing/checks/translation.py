"""Every parameter is translated or refused, and every name that nobody knows is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from training_hub.backends.translation import Translation
from training_hub.errors import UserError
from training_hub.parameters.declaration import Derived
from training_hub.testing.checks.subject import PLACES, Subject, item_of

UNKNOWN = "no_such_argument_anywhere"


class Translates(Subject):
    """Checks of what `translate` says."""

    def test_defaults_are_not_refused(self, translates: None, algorithm: str) -> None:
        left_out = self.translated(algorithm)
        assert not left_out.problems, f"with nothing given: {_lines(left_out)}"
        declared = self.declared(algorithm)
        defaults = {
            name: parameter.default
            for name, parameter in declared.items()
            if not parameter.required and not isinstance(parameter.default, Derived)
        }
        written_out = self.translated(algorithm, **defaults)
        assert not written_out.problems, f"with every default written out: {_lines(written_out)}"

    def test_every_parameter_has_one_item(self, translates: None, algorithm: str) -> None:
        found = [item.parameter for item in self.translated(algorithm).items]
        declared = self.declared(algorithm)
        assert not (missing := [name for name in declared if name not in found]), f"nothing is said of {missing}"
        assert not (twice := sorted({name for name in found if found.count(name) > 1})), f"several items: {twice}"
        assert not (others := [name for name in found if name not in declared]), f"nobody gave {others}"

    def test_every_parameter_has_a_rule(self, translates: None, algorithm: str) -> None:
        missing = self.translated(algorithm).without_rule
        assert not missing, (
            f"the table has no rule for {', '.join(missing)}: a value other than the default is refused as one of a "
            f"newer hub's; say what becomes of it (`exact`, `approximate`, `by_hub` or `refused`)"
        )

    def test_a_value_is_translated_or_refused(self, translates: None, algorithm: str, parameter: str) -> None:
        trials = self.trials(algorithm, parameter)
        assert trials, f"the type of {parameter} does not say a valid value: give one in `values`"
        outcomes = [_outcome(self, algorithm, parameter, trial) for trial in trials]
        beside = {name: value for name, value in trials[0].items() if name != parameter}
        unchanged = (
            _said(self.translated(algorithm, **beside), parameter) if _accepted(self, algorithm, beside) else None
        )
        argument = next((found.argument for found in outcomes if found.argument), "")
        if argument:
            assert any(found.said != unchanged for found in outcomes), (
                f"{parameter}: {argument} is the same for {', '.join(repr(t[parameter]) for t in trials)} and for the "
                f"default: the value is dropped"
            )

    def test_the_command_plan_shows_every_parameter(self, translates: None, algorithm: str) -> None:
        from training_hub.cli.given import Given
        from training_hub.cli.plan import as_data, plan

        base = {**PLACES, **self.needed(algorithm)}
        trials = [trial for name in self.declared(algorithm) for trial in self.trials(algorithm, name)[:1]]
        for trial in [{}, *trials]:
            values = {name: value for name, value in (base | trial).items() if name != "backend"}
            try:
                shown = json.loads(json.dumps(as_data(plan(Given(algorithm, self.backend, values))), default=str))
            except Exception as error:
                pytest.fail(f"training-hub plan with {trial}: {type(error).__name__}: {error}")
            listed = [item["parameter"] for item in shown["parameters"]]
            missing = [name for name in values if name not in listed]
            # What cannot be translated at all, such as more processes than there are devices, is a problem shown.
            assert shown["problems"] or not missing, f"training-hub plan with {trial} does not show {missing}"

    def test_an_unknown_keyword_is_refused(self, translates: None, algorithm: str) -> None:
        problems = _problems(self, algorithm, {UNKNOWN: 1})
        assert any(UNKNOWN in problem for problem in problems), (
            f"{UNKNOWN}=1 is not refused: give the names that the framework knows to `translate(accepts=...)`"
        )

    @pytest.mark.parametrize("meant", ["learning_rate", "num_epochs", "effective_batch_size"])
    def test_a_misspelt_name_is_refused_with_the_nearest(self, translates: None, algorithm: str, meant: str) -> None:
        if meant not in self.declared(algorithm):
            pytest.skip(f"{algorithm} has no {meant}")
        written = meant[:-1]
        problems = [problem for problem in _problems(self, algorithm, {written: 1}) if written in problem]
        assert problems, f"{written}=1 is not refused"
        assert any(repr(meant) in problem for problem in problems), (
            f"{written}=1 is refused without the nearest name, {meant!r}:\n" + "\n".join(problems)
        )


class _Outcome:
    """What became of one value."""

    def __init__(self, said: str, argument: str = "") -> None:
        self.said = said
        self.argument = argument


def _outcome(subject: Subject, algorithm: str, parameter: str, trial: dict[str, Any]) -> _Outcome:
    value = trial[parameter]
    try:
        found = subject.translated(algorithm, **trial)
    except UserError as error:
        assert parameter in str(error), f"{parameter}={value!r} is refused, and not by its name: {error}"
        return _Outcome(f"refused: {error}")
    item = item_of(found, parameter)
    assert item is not None, f"{parameter}={value!r}: the translation does not mention it"
    if item.how == "refused":
        assert item.note.strip(), f"{parameter}={value!r} is refused without a reason"
        named = [problem for problem in found.problems if parameter in problem]
        assert named, f"{parameter}={value!r} is refused, and no problem of the translation names it"
        return _Outcome(f"refused: {item.note}")
    assert item.how != "unused", (
        f"{parameter}={value!r} is said to be unused: a value that is given is honoured or refused"
    )
    expected = subject.resolved(algorithm, **trial)[parameter]
    assert item.value == expected, f"{parameter}={value!r} is shown as {item.value!r}"
    if item.how == "hub":
        assert item.note.strip() or item.argument, f"{parameter}={value!r} is the hub's work, and nothing says how"
        return _Outcome(_said(found, parameter))
    if item.how == "approximate":
        assert item.note.strip(), f"{parameter}={value!r} is approximate, and nothing says what differs"
    if item.argument and item.argument_value is not None:
        owner, _, name = item.argument.partition(".")
        given = found.arguments.get(owner, {})
        assert name in given, (
            f"{parameter}={value!r} is translated to {item.argument}, which is not among the arguments"
        )
    return _Outcome(_said(found, parameter), item.argument)


def _said(translation: Translation, parameter: str) -> str:
    """All of a translation but the value itself, which an item shows also where it is dropped."""
    item = item_of(translation, parameter)
    made = [item.how, item.argument_value, item.note] if item else []
    return repr((made, translation.arguments, translation.launch, translation.problems))


def _accepted(subject: Subject, algorithm: str, beside: dict[str, Any]) -> bool:
    try:
        subject.translated(algorithm, **beside)
    except UserError:
        return False
    return True


def _problems(subject: Subject, algorithm: str, further: dict[str, Any]) -> tuple[str, ...]:
    try:
        return subject.translated(algorithm, **further).problems
    except UserError as error:
        return (str(error),)


def _lines(translation: Translation) -> str:
    return "\n".join(translation.problems)
