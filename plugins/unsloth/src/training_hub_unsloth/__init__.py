"""Training Hub's backend `unsloth`: low-rank adapters with Unsloth, on NVIDIA's GPUs and on a CPU."""
