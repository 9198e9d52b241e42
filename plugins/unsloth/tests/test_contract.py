from training_hub.testing import BackendContract


class TestUnsloth(BackendContract):
    backend = "unsloth"
