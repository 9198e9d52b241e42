"""A scheduler's variables without a launcher make no process one of several."""

import os

import pytest

from training_hub import AlgorithmRegistry, sft
from training_hub.backends.torchrun import train_job
from training_hub.launchers.local import run_first
from training_hub.launchers.plan import LaunchPlan
from training_hub.worker.rank import rank, world_size


def test_a_rank_counts_only_where_torchrun_gave_it(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (rank(), world_size()) == (0, 1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert (rank(), world_size()) == (1, 2)


@pytest.mark.parametrize("torchrun", [False, True])
def test_a_process_that_is_none_of_several_does_not_look_like_one(monkeypatch, tmp_path, torchrun):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "shows_its_rank.py").write_text("import os; print('rank', os.environ.get('RANK'))")
    run_first(LaunchPlan("shows_its_rank", 1, torchrun=torchrun), "shows_its_rank", [], tmp_path)
    assert (tmp_path / "shows_its_rank.log").read_text() == "rank None\n"


LEFT_BEHIND = {
    **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"},
    **{"MASTER_ADDR": "elsewhere", "MASTER_PORT": "29511", "OMPI_COMM_WORLD_SIZE": "2", "PMI_SIZE": "2"},
}


def test_a_run_in_this_process_is_one_of_none_and_leaves_the_variables_as_they_were(job, monkeypatch):
    seen = {}

    class Looks(AlgorithmRegistry._backends["sft", "counting"]):
        def train(self, run):
            def here(job):
                seen.update(os.environ)
                raise InterruptedError

            return train_job(run, run.job(), here)

    monkeypatch.setitem(AlgorithmRegistry._backends, ("sft", "looks"), Looks)
    for name, value in LEFT_BEHIND.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with pytest.raises(Exception, match="InterruptedError"):
        sft(**job | {"backend": "looks"})
    assert seen and not seen.keys() & LEFT_BEHIND.keys()
    assert dict(os.environ) == before
