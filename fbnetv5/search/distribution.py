"""One distribution over architectures per task, and the proxy that all tasks sample from.

Shapes: T tasks, B slots, O options (of the slot that has most), N architectures.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

LOGIT_LIMIT = 2.0  # two options: probabilities stay within 0.018 .. 0.982, so that no block is ever lost for good


class ArchitectureDistribution:
    """p_t(a) = prod_b softmax(theta_tb)[a_b], independent over slots (FBNetV5, eq. 4, in logits).

    Logits start at zero: every option of a slot is equally likely. They live on the CPU in float64, whatever the
    network runs on, so that all processes hold the same bits.
    """

    def __init__(self, num_tasks: int, num_options: Sequence[int]) -> None:
        self.num_tasks = num_tasks
        self.num_options = tuple(num_options)
        options = torch.arange(max(self.num_options))
        self._absent = options >= torch.tensor(self.num_options)[:, None]  # [B, O]
        self.logits = torch.zeros(num_tasks, *self._absent.shape, dtype=torch.float64)  # [T, B, O]

    def log_probabilities(self) -> Tensor:
        """Return log p of every option, float64 [T, B, O]; -inf where a slot has no such option."""
        return self.logits.masked_fill(self._absent, -math.inf).log_softmax(dim=-1)

    def probabilities(self) -> Tensor:
        """Return the probability of every option, float64 [T, B, O]; each [t, b] sums to one."""
        return self.log_probabilities().exp()

    def log_prob(self, choices: Tensor) -> Tensor:
        """Return log p_t(a_i) for choices int64 [N, B]; float64 [T, N]."""
        index = choices.expand(self.num_tasks, *choices.shape).transpose(1, 2)  # [T, B, N]
        return self.log_probabilities().gather(2, index).sum(dim=1)

    def log_proxy(self, choices: Tensor) -> Tensor:
        """Return log q(a_i) with q = mean_t p_t, for choices int64 [N, B]; float64 [N]."""
        return self.log_prob(choices).logsumexp(dim=0) - math.log(self.num_tasks)

    def log_ratio(self, choices: Tensor) -> Tensor:
        """Return log(p_t(a_i) / q(a_i)), at most log T, for choices int64 [N, B]; float64 [T, N]."""
        return self.log_prob(choices) - self.log_proxy(choices)

    def sample_task(self, task: int, generator: torch.Generator) -> Tensor:
        """Draw an architecture from p_task; int64 [B]."""
        return self.sample_tasks([task], [generator])[0]

    def sample_tasks(self, tasks: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
        """Draw an architecture from each p_task by its generator; int64 [N, B]."""
        uniform = torch.empty(len(tasks), len(self.num_options), 1, dtype=torch.float64)
        for own, generator in zip(uniform, generators, strict=True):
            torch.rand(own.shape, generator=generator, dtype=torch.float64, out=own)
        cumulative = self.probabilities().cumsum(dim=-1)[list(tasks), :, :-1]  # the last border is 1, up to rounding
        return (uniform >= cumulative).sum(dim=-1).minimum(torch.tensor(self.num_options) - 1)

    def sample_proxy(self, generator: torch.Generator) -> Tensor:
        """Draw an architecture from q: a task uniformly, then from its distribution; int64 [B]."""
        return self.sample_proxies([generator])[0]

    def sample_proxies(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw an architecture from q by each generator; int64 [N, B]."""
        tasks = [int(torch.randint(self.num_tasks, (), generator=generator)) for generator in generators]
        return self.sample_tasks(tasks, generators)

    def descend(self, gradient: Tensor, lr: float) -> None:
        """Take the step theta <- theta - lr gradient, [T, B, O], and keep every logit within +-2."""
        self.logits = (self.logits - lr * gradient).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)

    def fingerprint(self) -> int:
        """Return 63 bits of the logits' SHA-256, to compare processes with."""
        digest = hashlib.sha256(self.logits.contiguous().numpy().tobytes()).digest()
        return int.from_bytes(digest[:8], "big") >> 1
