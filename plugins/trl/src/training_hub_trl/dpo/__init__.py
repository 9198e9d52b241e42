"""The algorithm `dpo`, by TRL's DPOTrainer: learning from pairs of answers of which one is preferred.

`algorithm`, `preference` and `rules` are for the caller's process and import neither torch nor TRL.
"""
