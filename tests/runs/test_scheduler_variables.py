"""A scheduler's variables without a launcher make no process one of several."""

import pytest

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
    assert (tmp_path / "shows_its_rank.log").read_text() == f"rank {'1' if torchrun else 'None'}\n"
