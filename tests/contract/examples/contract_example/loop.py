"""A training loop by hand, in one process or several, that keeps every promise of a backend."""

import json
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM, AutoTokenizer

from training_hub.data import prepare_job
from training_hub.store.checkpoints import complete, seal
from training_hub.store.control import ControlReader, Orders
from training_hub.store.directory import RunDirectory, write_json
from training_hub.store.events import SCHEMA
from training_hub.worker.callbacks import RankCallbacks
from training_hub.worker.failure import recorded_failure

IGNORED = -100


class Loop:
    """Trains one job; a broken backend overrides the method that it breaks."""

    def __init__(self, job):
        self.job = job
        self.values = job["values"]
        self.directory = RunDirectory(Path(job["directory"]))
        self.ranks = RankCallbacks(job["on_all_ranks"], self.directory)
        self.events = self.ranks.events
        self.control_reader = ControlReader(self.directory)
        self.rank, self.world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.last = {}

    def run(self):
        torch.manual_seed(self.values["seed"])
        self.tokenizer = AutoTokenizer.from_pretrained(self.values["model_path"])
        self.rows = self.read_rows()
        self.model = AutoModelForCausalLM.from_pretrained(self.values["model_path"], dtype=torch.float32)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.values["learning_rate"], weight_decay=0)
        batches = [batch for epoch in range(self.values["num_epochs"]) for batch in self.batches(epoch)]
        self.steps = len(batches)
        done, tokens = self.resume() if self.job["resume"] else (0, 0)
        self.emit("start", **self.start(), resumed_from=done or None)
        self.begin()
        began = time.perf_counter()
        for step, (epoch, batch) in list(enumerate(batches, start=1))[done:]:
            self.ranks.meet()
            loss, norm = self.step(batch)
            tokens += sum(len(row.input_ids) for row in batch)
            self.last = self.figures(step, epoch, loss, norm, tokens, tokens / (time.perf_counter() - began))
            self.emit("step", **self.last)
            if epoch == int(epoch):
                self.tell_epoch(int(epoch), step)
            orders = self.orders()
            if orders.stop and step < self.steps:
                self.emit("stop", step=step, reason=self.control_reader.reason)
                self.save(self.checkpoint(step), step)
                self.ranks.end(self.last)
                return {"checkpoint": str(self.checkpoint(step)), "metrics": self.last}
            if orders.save or (self.values["checkpoint_at_epoch"] and epoch == int(epoch)):
                self.save(self.checkpoint(step), step)
        outcome = self.end()
        self.ranks.end(self.last)
        return outcome

    def begin(self):
        self.ranks.begin(self.model, self.tokenizer, torch.device("cpu"))

    def tell_epoch(self, epoch, step):
        self.emit("epoch", epoch=epoch, step=step)

    def orders(self):
        """What the caller asks for, the same on every rank."""
        found = self.control_reader.orders() if self.rank == 0 else Orders()
        if self.world == 1:
            return found
        numbers = torch.tensor(found.numbers())
        dist.broadcast(numbers, 0)
        return Orders.of(numbers.tolist())

    def resume(self):
        """Steps done and tokens seen by the checkpoint to go on from."""
        found = complete(Path(self.job["resume"]))
        self.model = AutoModelForCausalLM.from_pretrained(found.path, dtype=torch.float32)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.values["learning_rate"], weight_decay=0)
        self.restore(torch.load(found.path / "optimizer.pt", weights_only=True))
        self.last = found.facts["last"]
        return found.step, self.last["tokens"]

    def restore(self, state):
        self.optimizer.load_state_dict(state)

    def read_rows(self):
        return list(prepare_job(self.job, self.tokenizer).train)

    def batches(self, epoch):
        """Pairs of the epochs done and the rows of a step."""
        size = self.values["effective_batch_size"]
        order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(epoch)).tolist()
        steps = -(-len(order) // size)
        for number in range(steps):
            yield (
                epoch + (number + 1) / steps,
                [self.rows[index] for index in order[number * size : (number + 1) * size]],
            )

    def start(self):
        return {
            "schema": SCHEMA,
            "algorithm": "sft",
            "backend": self.job["backend"],
            "rows": len(self.rows),
            "max_steps": self.steps,
            "num_epochs": self.values["num_epochs"],
            "world_size": self.world,
            "effective_batch_size": self.values["effective_batch_size"],
        }

    def step(self, batch):
        """The loss over the batch and the gradient's norm; the weights are updated."""
        self.optimizer.zero_grad()
        trained = sum(row.trained_tokens for row in batch)
        mine, micro = batch[self.rank :: self.world], self.micro_batch()
        loss = torch.zeros(())
        for start in range(0, len(mine), micro):
            part = self.micro_loss(mine[start : start + micro], trained, len(mine))
            part.backward()
            loss += part.detach()
        return self.update(loss)

    def micro_batch(self):
        return max(1, self.values["max_tokens_per_gpu"] // self.values["max_seq_len"])

    def micro_loss(self, rows, trained, count):
        return self.summed(rows) / trained

    def summed(self, rows):
        """Loss of all trained tokens of some rows."""
        longest = max(len(row.input_ids) for row in rows)
        padded = torch.tensor([row.input_ids + [0] * (longest - len(row.input_ids)) for row in rows])
        labels = torch.tensor([row.labels + [IGNORED] * (longest - len(row.labels)) for row in rows])
        mask = torch.tensor([[1] * len(row.input_ids) + [0] * (longest - len(row.input_ids)) for row in rows])
        logits = self.model(input_ids=padded, attention_mask=mask).logits[:, :-1].float()
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
        )

    def update(self, loss):
        self.share(loss)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item(), norm.item()

    def share(self, loss):
        """Sum the loss and the gradients over all processes."""
        if self.world > 1:
            dist.all_reduce(loss)
            for weight in self.model.parameters():
                dist.all_reduce(weight.grad)

    def figures(self, step, epoch, loss, norm, tokens, speed):
        return {
            "step": step,
            "max_steps": self.steps,
            "epoch": epoch,
            "loss": loss,
            "learning_rate": self.values["learning_rate"],
            "grad_norm": norm,
            "tokens": tokens,
            "tokens_per_second": speed,
        }

    def checkpoint(self, step):
        return self.directory.path / f"checkpoint-{step}"

    def save(self, path, step):
        if self.rank == 0:
            self.model.save_pretrained(path)
            self.tokenizer.save_pretrained(path)
            if path.name.startswith("checkpoint"):
                torch.save(self.optimizer.state_dict(), path / "optimizer.pt")
                seal(path, step, resumable=True, last=self.last)
        self.emit("save", step=step, checkpoint=str(path))

    def end(self):
        self.save(self.directory.final, self.steps)
        return {"checkpoint": str(self.directory.final), "metrics": self.last}

    def emit(self, event, **fields):
        if self.rank == 0:
            self.events.emit(event, **fields)


def loop_of(job):
    """The loop that the job names: of this package, by module and class."""
    module, _, name = job["loop"].partition(":")
    return getattr(__import__(module, fromlist=[name]), name)(job)


def main():
    job = json.loads(Path(sys.argv[1]).read_text())
    logs = RunDirectory(Path(job["directory"])).logs
    with recorded_failure(logs):
        dist.init_process_group("gloo")
        outcome = loop_of(job).run()
        if dist.get_rank() == 0:
            write_json(logs / "outcome.json", outcome)
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
