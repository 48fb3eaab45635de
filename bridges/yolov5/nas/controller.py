"""The controller of ENAS: a small recurrent network that samples architectures.

It chooses option after option, each knowing those before; it is trained by REINFORCE with a moving
baseline. The exported architecture takes the most probable option at every step, so that a
controller that has converged exports the one that it samples most, every time.

Reference:
    Pham et al., Efficient Neural Architecture Search via Parameter Sharing, 2018, arXiv:1802.03268,
    section 2; Williams, Simple Statistical Gradient-Following Algorithms, 1992.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributions import Categorical


@dataclass(frozen=True)
class Written:
    """An architecture that the controller sampled.

    Attributes:
        choices: The chosen option of every choice.
        log_probability: Log-probability of the whole architecture, differentiable.
        entropy: Entropy summed over the choices, differentiable.
        probabilities: Probabilities of the options of each choice, given the earlier choices.
    """

    choices: dict[str, str]
    log_probability: torch.Tensor
    entropy: torch.Tensor
    probabilities: dict[str, tuple[float, ...]]


class Controller(nn.Module):
    """An LSTM with an embedding and a linear layer for each choice.

    Args:
        options: Every choice and its options, in the order in which they are made.
        width: Number of LSTM units.
        flattening: Divisor of the logits: above 1, early samples are closer to uniform.
        limit: Bound of the logits, enforced by a tanh, so that no option is ruled out for good.
        baseline_decay: Decay of the moving baseline at each reward.
    """

    def __init__(
        self,
        options: Mapping[str, tuple[str, ...]],
        width: int = 64,
        flattening: float = 5.0,
        limit: float = 2.5,
        baseline_decay: float = 0.95,
    ) -> None:
        super().__init__()
        self.options = {label: tuple(names) for label, names in options.items()}
        self.flattening, self.limit, self.baseline_decay = flattening, limit, baseline_decay
        self.cell = nn.LSTMCell(width, width)
        self.start = nn.Parameter(torch.zeros(width))
        # Modules may not have a dot or a common name; the labels are kept in their order.
        sizes = [len(names) for names in self.options.values()]
        self.embeddings = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        self.heads = nn.ModuleList(nn.Linear(width, size) for size in sizes)
        self.register_buffer("baseline", torch.zeros(()))
        self.register_buffer("rewards", torch.zeros((), dtype=torch.long))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def write(self, most_probable: bool = False) -> Written:
        """Write one architecture, sampled from PyTorch's generator, or the most probable one."""
        state = None
        given = self.start
        choices: dict[str, str] = {}
        probabilities: dict[str, tuple[float, ...]] = {}
        log_probability, entropy = self.start.new_zeros(()), self.start.new_zeros(())
        for (label, names), embedding, head in zip(
            self.options.items(), self.embeddings, self.heads, strict=True
        ):
            state = self.cell(given[None], state)
            logits = self.limit * torch.tanh(head(state[0])[0] / self.flattening)
            policy = Categorical(logits=logits)
            index = logits.argmax() if most_probable else policy.sample()
            choices[label] = names[int(index)]
            probabilities[label] = tuple(policy.probs.detach().tolist())
            log_probability = log_probability + policy.log_prob(index)
            entropy = entropy + policy.entropy()
            given = embedding(index)
        return Written(choices, log_probability, entropy, probabilities)

    def loss(self, written: Written, reward: float, entropy_weight: float) -> torch.Tensor:
        """REINFORCE: the log-probability times how much better than usual the reward is.

        The baseline moves with each reward.
        """
        self.baseline.copy_(
            torch.as_tensor(reward)
            if self.rewards == 0
            else self.baseline_decay * self.baseline + (1 - self.baseline_decay) * reward
        )
        self.rewards += 1
        advantage = reward - float(self.baseline)
        return -advantage * written.log_probability - entropy_weight * written.entropy
