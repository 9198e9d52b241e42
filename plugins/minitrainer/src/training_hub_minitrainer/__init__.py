"""Training Hub's backend `mini-trainer`: OSFT and SFT with mini-trainer, on NVIDIA GPUs."""
