"""Callbacks in the process that trains: they see the model, and leave training as it is."""

from training_hub import SampleGenerations, lora_sft
from training_hub.testing.on_ranks import RankNotes, notes_of_ranks


def test_the_model_answers_and_is_trained_as_without(job, tmp_path, events, losses):
    samples = SampleGenerations(["Spell abc backwards."], every=4, max_new_tokens=4)
    plain = lora_sft(**job)
    watched = lora_sft(
        **job | {"ckpt_output_dir": str(tmp_path / "watched")}, callbacks=[RankNotes(str(tmp_path)), samples]
    )
    assert losses(watched) == losses(plain)
    [notes] = notes_of_ranks(tmp_path)
    assert [call["loss"] for call in notes if call["hook"] == "on_log"] == losses(plain)
    assert {call["model"] for call in notes} == {"PeftModelForCausalLM"}
    assert [event["step"] for event in events(watched.run_dir, "samples")] == [0, 4, 6]
