"""Training Hub's backend `trl`: TRL's SFTTrainer and PEFT, on a CPU, on Apple's GPU and on NVIDIA's."""
