"""Training Hub's backend `instructlab-training`: full fine-tuning and continued pretraining on NVIDIA GPUs."""
