"""Training loops that each break one promise; `broken` says which check must notice."""

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from contract_example.loop import Loop
from training_hub.plugin import Orders


class DrawsWeightsThatAreMissing(Loop):
    def check(self):
        pass


class FailsAtTheEnd(Loop):
    def end(self):
        # The one run of the check that must fail; those with all rows in a step, which others need, end well.
        if self.steps > 1:
            raise RuntimeError("no more")
        return super().end()


class ReportsTheFirstLossForEver(Loop):
    def figures(self, step, epoch, loss, norm, tokens, speed):
        return super().figures(step, epoch, self.last.get("loss", loss), norm, tokens, speed)


class TakesTheMeanOfMeans(Loop):
    def micro_loss(self, rows, trained, count):
        return self.summed(rows) / sum(row.trained_tokens for row in rows) * len(rows) / count


class DropsTheLastRows(Loop):
    def batches(self, epoch):
        size = self.given["batch"]
        whole = [(at, batch) for at, batch in super().batches(epoch) if len(batch) == size]
        for number, (_, batch) in enumerate(whole, start=1):
            yield epoch + number / len(whole), batch


class TrainsOnFewerRowsThanItSays(Loop):
    def batches(self, epoch):
        for at, batch in super().batches(epoch):
            yield at, batch[: max(1, len(batch) - epoch)]


class NamesAFigureAnotherWay(Loop):
    def figures(self, *figures):
        found = super().figures(*figures)
        return {"gradient_norm": found.pop("grad_norm"), **found}


class TrainsAtAConstantRate(Loop):
    def rate(self, step):
        return self.of_optimizer["lr"]


class ReportsAnotherLearningRate(Loop):
    def figures(self, *figures):
        found = super().figures(*figures)
        return {**found, "learning_rate": found["learning_rate"] / 2}


class SavesNoConfig(Loop):
    def end(self):
        outcome = super().end()
        (self.directory.final / "config.json").unlink()
        return outcome


class SavesHalfOfTheWeights(Loop):
    def end(self):
        outcome = super().end()
        path = self.directory.final / "model.safetensors"
        weights = load_file(path)
        save_file(dict(list(weights.items())[::2]), path, {"format": "pt"})
        return outcome


class SavesNoTemplate(Loop):
    def end(self):
        outcome = super().end()
        (self.directory.final / "chat_template.jinja").unlink()
        return outcome


class SavesTheBaseModel(Loop):
    def end(self):
        self.model = AutoModelForCausalLM.from_pretrained(self.given["model_path"])
        return super().end()


class NamesCheckpointsAnotherWay(Loop):
    def save(self, path, step):
        super().save(path, step)
        # Where it is stopped it keeps to the names: that is another check.
        if self.values["checkpoint_at_epoch"] and path.name.startswith("checkpoint"):
            path.rename(self.directory.path / f"step_{step}")


class TrainsTwoModelsThatNeverMeet(Loop):
    def share(self, loss):
        # The report is put together, and looks right; the gradients are not.
        if self.world > 1:
            dist.all_reduce(loss)


class TellsOfNoEpochs(Loop):
    def tell_epoch(self, epoch, step):
        pass


class IgnoresWhatIsAsked(Loop):
    def orders(self):
        return Orders()


class ForgetsTheOptimizer(Loop):
    def restore(self, state):
        pass


class GivesCallbacksNoModel(Loop):
    def begin(self):
        self.ranks.begin(None, self.tokenizer, torch.device("cpu"))
