"""The contract is tested itself: honest backends pass it, and each broken one fails the one check that it breaks.

Needs torch and transformers: run where a plugin with them is installed.
"""

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "examples"))

from contract_example.installed import EXPECTED, install


class Report:
    """What became of each check of each example backend."""

    def __init__(self, xml, text):
        self.text = text
        self.failed, self.skipped, self.passed = defaultdict(dict), defaultdict(dict), defaultdict(set)
        for case in ElementTree.parse(xml).iter("testcase"):
            backend, check = case.get("classname").rpartition(".Test")[2], case.get("name")
            found = next((case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None)
            if found is not None:
                self.failed[backend][check] = f"{found.get('message')}\n{found.text}"
            elif (skip := case.find("skipped")) is not None:
                self.skipped[backend][check] = skip.get("message")
            else:
                self.passed[backend].add(check)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    place = tmp_path_factory.mktemp("installed")
    install(place)
    path = os.pathsep.join([str(place), str(HERE / "examples"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    xml = place / "report.xml"
    command = [sys.executable, "-m", "pytest", str(HERE / "contracts.py"), "-q", "-ra", "-p", "no:cacheprovider"]
    command += ["--numprocesses=auto", "--maxprocesses=4", "--dist=loadscope"]
    ended = subprocess.run(
        [*command, f"--junitxml={xml}", f"--basetemp={place / 'temporary'}"],
        env=environment,
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert xml.exists(), ended.stdout + ended.stderr
    return Report(xml, ended.stdout)


@pytest.mark.parametrize("backend", EXPECTED)
def test_a_backend_fails_just_the_check_whose_promise_it_breaks(report, backend):
    failed = report.failed[backend]
    names = {check.partition("[")[0] for check in failed}
    assert names == set(EXPECTED[backend]), "\n\n".join(f"{k}: {v}" for k, v in failed.items())


def test_an_honest_backend_with_two_processes_skips_nothing(report):
    assert report.skipped["HonestTwo"] == {}
    assert len(report.passed["HonestTwo"]) > 90


def test_what_cannot_run_is_skipped_by_name_with_the_reason_and_counted(report):
    two = report.skipped["Honest"]
    assert set(two) == {"test_two_processes_give_the_losses_of_one[sft]", "test_a_killed_process_ends_the_run"}
    assert all("cannot train with two processes here: the example has no such thing" in why for why in two.values())
    absent = report.skipped["Absent"]
    assert "not available here: it needs a quantum computer" in absent["test_a_run_completes[sft]"]
    assert "execute_training and no translation" in report.skipped["Plain"]["test_an_unknown_keyword_is_refused[sft]"]
    own = report.skipped["OfItsOwn"]
    assert "`first_loss` of the test class" in own["test_the_first_loss_is_the_base_models[contract_repeating]"]
    for check in ("a_value_is_translated_or_refused[contract_repeating-margin]", "a_run_completes[contract_repeating]"):
        assert f"test_{check}" in report.passed["OfItsOwn"]
    for check in ("the_loss_falls", "a_stopped_run_goes_on_to_the_same_end", "the_effective_batch_is_exact"):
        assert f"test_{check}[contract_repeating]" in report.passed["OfItsOwn"]
    assert "test_a_mistake_is_named_and_leaves_nothing[bad-row]" in report.passed["OfItsOwn"]
    assert "SKIPPED" in report.text and re.search(r"\d+ skipped", report.text)


def test_a_backend_that_does_not_load_fails_once_and_skips_the_rest(report):
    failed, passed = report.failed["SpeaksAnotherVersion"], report.passed["SpeaksAnotherVersion"]
    assert "hook version 0" in failed["test_its_plugin_loads"]
    assert passed == {"test_it_is_installed"}


MESSAGES = {
    "DropsAValue": r"eps: AdamW\.eps is the same for .* the value is dropped",
    "ImportsToTranslate": r"translate\(\) imports:[\sE]+safetensors \(from .*broken\.py",
    "ImportsOnLoad": r"calling its hooks imports:[\sE]+torch \(from .*plugin_ImportsOnLoad\.py",
    "WritesAFile": r"(?s)translate\(\) writes:.*broken\.py",
    "NamesAFigureAnotherWay": r"grad_norm of each step: \[None",
    "KnowsNoNearestName": "without the nearest name, 'learning_rate'",
    "KeepsAFigureToItself": "contract_promising declares the figures surprise, and no event has them",
    "SavesHalfOfTheWeights": "weights are missing",
    "LeavesADirectory": "it was refused, and left or changed",
    "TrainsAtAConstantRate": "run.json says lr_scheduler='cosine'",
    "NamesAnArgumentThatNothingReads": r"arguments that the backend never reads: .*Forgotten\.weight_decay",
    "Unacknowledged": r"(?s)1 of the things that users rely on most.*'training': it is not available here",
    "CannotBeStopped": r"(?s)'stop': it cannot be stopped.*unchecked = \{'stop': \.\.\.\}",
    "LeavesAGapInItsTable": "the table has no rule for eps",
    "WaitsForTheDead": "5 s after rank 1 was killed the run had not ended",
}


@pytest.mark.parametrize("backend", MESSAGES)
def test_a_failure_says_what_is_wrong_and_where(report, backend):
    assert any(re.search(MESSAGES[backend], said) for said in report.failed[backend].values())


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_pytest_the_kit_says_what_to_install():
    code = "import sys; sys.modules['pytest'] = None; from training_hub.testing import BackendContract"
    found = run(code)
    assert found.returncode and 'pip install "training-hub[testing]"' in found.stderr.splitlines()[-1]


def test_the_toy_needs_no_pytest_and_importing_the_kit_no_torch():
    code = (
        "import sys; sys.modules['pytest'] = None; import training_hub.testing.toy; sys.modules.pop('pytest');"
        "from training_hub.testing import BackendContract; print({'torch', 'transformers'} & set(sys.modules))"
    )
    assert run(code).stdout.strip() == "set()"
