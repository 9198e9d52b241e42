from training_hub.testing import BackendContract


class TestTRL(BackendContract):
    backend = "trl"
