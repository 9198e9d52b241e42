"""A training loop by hand, in one process or several, that keeps every promise of a backend."""

import math
import os
import time
from typing import NamedTuple

import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM, AutoTokenizer

from training_hub.plugin import (
    CheckpointKeeper,
    ControlReader,
    Outcome,
    RankCallbacks,
    StepReporter,
    check_weights,
    orders_on_every_rank,
    prepare_rows,
    run_worker,
)

IGNORED = -100


class Loop:
    """Trains one job; a broken backend overrides the method that it breaks."""

    def __init__(self, job):
        self.job = job
        self.values = job.parameters
        self.directory = job.directory
        self.given = {**job.arguments["Loop"]}
        self.of_optimizer = {**job.arguments["AdamW"]}
        self.ranks = RankCallbacks(job)
        self.control_reader = ControlReader(self.directory)
        self.rank, self.world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.reporter = StepReporter(job, self.ranks.events, writes=self.rank == 0)
        self.keeper = CheckpointKeeper(job, self.reporter)
        self.last = {}

    def run(self):
        torch.manual_seed(self.given["seed"])
        self.check()
        self.tokenizer = AutoTokenizer.from_pretrained(self.given["model_path"])
        self.rows = self.read_rows()
        self.model = AutoModelForCausalLM.from_pretrained(self.given["model_path"], dtype=torch.float32)
        self.optimizer = self.new_optimizer()
        batches = [batch for epoch in range(self.given["epochs"]) for batch in self.batches(epoch)]
        self.steps = len(batches)
        done, tokens = self.resume() if self.job.resume_from else (0, 0)
        self.start(tokens)
        self.begin()
        began = time.perf_counter()
        for step, (epoch, batch) in list(enumerate(batches, start=1))[done:]:
            self.ranks.meet()
            self.use_rate(step)
            loss, norm = self.step(batch)
            tokens += sum(len(row.input_ids) for row in batch)
            self.last = self.figures(step, epoch, loss, norm, tokens, tokens / (time.perf_counter() - began))
            self.tell_step()
            if epoch == int(epoch):
                self.tell_epoch(int(epoch), step)
            orders = self.orders()
            if orders.stop and step < self.steps:
                self.reporter.stopped(step, self.control_reader.reason)
                self.save(self.checkpoint(step), step)
                self.ranks.end(self.last)
                return Outcome(self.checkpoint(step), self.last)
            if orders.save or (self.values["checkpoint_at_epoch"] and epoch == int(epoch)):
                self.save(self.checkpoint(step), step)
        outcome = self.end()
        self.ranks.end(self.last)
        return outcome

    def check(self):
        check_weights(self.job)

    def begin(self):
        self.ranks.begin(self.model, self.tokenizer, torch.device("cpu"))

    def tell_step(self):
        self.reporter.emit("step", **self.last)

    def tell_epoch(self, epoch, step):
        self.reporter.epoch(epoch, step)

    def orders(self):
        """What the caller asks for, the same on every rank."""
        return orders_on_every_rank(self.control_reader if self.rank == 0 else None, torch.device("cpu"))

    def new_optimizer(self):
        return torch.optim.AdamW(self.model.parameters(), weight_decay=0, **self.of_optimizer)

    def rate(self, step):
        peak = self.of_optimizer["lr"]
        if self.given["scheduler"] == "constant":
            return peak
        return peak * 0.5 * (1 + math.cos(math.pi * (step - 1) / self.steps))

    def use_rate(self, step):
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)

    def resume(self):
        """Steps done and tokens seen by the checkpoint to go on from."""
        found = self.job.resume_from
        self.model = AutoModelForCausalLM.from_pretrained(found.path, dtype=torch.float32)
        self.optimizer = self.new_optimizer()
        self.restore(torch.load(found.path / "optimizer.pt", weights_only=True))
        self.last = found.facts["last"]
        return found.step, self.last["tokens"]

    def restore(self, state):
        self.optimizer.load_state_dict(state)

    def read_rows(self):
        return list(prepare_rows(self.job, self.tokenizer).train)

    def batches(self, epoch):
        """Pairs of the epochs done and the rows of a step."""
        size = self.given["batch"]
        order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(epoch)).tolist()
        steps = -(-len(order) // size)
        for number in range(steps):
            yield (
                epoch + (number + 1) / steps,
                [self.rows[index] for index in order[number * size : (number + 1) * size]],
            )

    def start(self, tokens):
        self.reporter.start(
            rows=len(self.rows),
            max_steps=self.steps,
            num_epochs=self.given["epochs"],
            world_size=self.world,
            effective_batch_size=self.given["batch"],
            tokens=tokens,
        )

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
        return self.given["micro_batch"]

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
            "learning_rate": self.rate(step),
            "grad_norm": norm,
            "tokens": tokens,
            "tokens_per_second": speed,
        }

    def checkpoint(self, step):
        return self.directory.path / f"checkpoint-{step}"

    def save(self, path, step):
        if self.rank:
            return
        self.model.save_pretrained(path)
        self.tokenizer.save_pretrained(path)
        if path.name.startswith("checkpoint"):
            torch.save(self.optimizer.state_dict(), path / "optimizer.pt")
            self.keeper.complete(step, resumable=True, last=self.last)
        else:
            self.reporter.saved(step, path)

    def end(self):
        self.save(self.directory.final, self.steps)
        return Outcome(self.directory.final, self.last)


class Tokens(NamedTuple):
    """A text of which every token but the first is learnt."""

    input_ids: tuple[int, ...]

    @property
    def labels(self):
        return [IGNORED, *self.input_ids[1:]]

    @property
    def length(self):
        return len(self.input_ids)

    @property
    def total_tokens(self):
        return len(self.input_ids)

    @property
    def trained_tokens(self):
        return len(self.input_ids) - 1


class WordLoop(Loop):
    """The same loop, on rows of a plugin's own."""

    def read_rows(self):
        from contract_example.backend import Words

        return [
            Row(list(row.input_ids), row.labels, row.trained_tokens)
            for row in prepare_rows(self.job, self.tokenizer, [Words()]).train
        ]


class Row(NamedTuple):
    """A row as the loop takes it."""

    input_ids: list[int]
    labels: list[int]
    trained_tokens: int


def train(job):
    """Train by the loop that the job names: of this package, by module and class."""
    module, _, name = job.arguments["Loop"]["name"].partition(":")
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several:
        dist.init_process_group("gloo")
    return getattr(__import__(module, fromlist=[name]), name)(job).run()


if __name__ == "__main__":
    run_worker(train)
