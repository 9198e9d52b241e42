"""Merging into a vision-language model, whose class the adapter's own loader does not know."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForImageTextToText,
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from training_hub.testing.jobs import make_job
from training_hub_unsloth.merge import merge


def test_the_merged_model_answers_as_base_and_adapter(model, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(model)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    base = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(**sizes, image_size=16, patch_size=8, projection_dim=16),
            text_config=LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=len(tokenizer)),
        )
    )
    base.save_pretrained(tmp_path / "base")
    plain = base(input_ids=torch.tensor([[5, 6, 7]])).logits
    adapted = get_peft_model(
        base, LoraConfig(r=4, target_modules=r".*language_model.*q_proj", init_lora_weights=False)
    ).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    expected = adapted(input_ids=torch.tensor([[5, 6, 7]])).logits

    job = make_job(tmp_path / "run", "lora_sft", model_path=str(tmp_path / "base"))
    merge(job, tmp_path / "adapter", tmp_path / "merged")

    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    found = merged(input_ids=torch.tensor([[5, 6, 7]])).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (expected - plain).abs().max() > 1e-3
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template == tokenizer.chat_template
