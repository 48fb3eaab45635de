"""One trial of a multi-trial search on a proxy: an architecture, trained from scratch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.optim.swa_utils import update_bn

from bridges.yolov5.detector.cost import count_torch_cost
from bridges.yolov5.nas.proxies import Proxy
from bridges.yolov5.nas.trials import cost_objective
from models.yolov5.architecture_file import Architecture
from models.yolov5.search_space import frozen_pick, plain_choices


@dataclass(frozen=True)
class ProxyTrial:
    """Trains an architecture on a proxy's first half, and rewards it on the other.

    Attributes:
        space: The search space.
        proxy: The task.
        epochs: Number of training epochs.
        learning_rate: Learning rate of AdamW, with a cosine schedule over the epochs.
        weight: Penalty subtracted from the score at twice the plain network's MACs.
        budget: Fraction of the plain network's MACs below which saving more does not raise the
            score.
        seed: Seed of the weights and the batches.
        threads: Number of PyTorch threads; 0: PyTorch's default.
    """

    space: Architecture
    proxy: Proxy
    epochs: int = 5
    learning_rate: float = 2e-3
    weight: float = 0.05
    budget: float = 0.0
    seed: int = 0
    threads: int = 0

    def __call__(
        self, choices: Mapping[str, str], report: Callable[[float], None]
    ) -> dict[str, float]:
        """The best mean reward of an epoch, MACs, and the score made of them."""
        if self.threads:
            torch.set_num_threads(self.threads)
        torch.manual_seed(self.seed)
        build = self.proxy.builder(self.space)
        network = build(frozen_pick(choices))
        plain = build(frozen_pick(plain_choices(self.space)))
        macs, plain_macs = (count_torch_cost(n, self.proxy.shape).macs for n in (network, plain))
        train, val = self.proxy.batches(self.seed)
        optimizer = torch.optim.AdamW(network.parameters(), self.learning_rate)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)
        best = 0.0
        for _ in range(self.epochs):
            network.train()
            for batch in train:
                loss = self.proxy.loss(network, batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            cosine.step()
            # After so few steps YOLOv5's slow running statistics are not those of the data.
            update_bn(train, network)
            network.eval()
            with torch.no_grad():
                rewards = [self.proxy.reward(network, batch) for batch in val]
            best = max(best, sum(rewards) / len(rewards))
            report(best)
        return {
            "score": cost_objective(best, macs, plain_macs, self.weight, self.budget),
            "reward": best,
            "macs": float(macs),
        }
