"""The processes that train: their job, what they report, their checkpoints, what is asked of them."""
