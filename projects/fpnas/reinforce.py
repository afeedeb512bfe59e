"""The search by reinforcement learning that FPNAS is compared with (Section 3.3)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fbnetv5.base.errors import InputError
from fbnetv5.base.seeding import Purpose, forked, generator
from fbnetv5.projects.fpnas.bound import BoundedSpace, Choices
from fbnetv5.projects.fpnas.methods import Budget, Found, Trainer, best_of, from_scratch, num_networks

MAX_BARREN = 1000  # batches in a row without a network below the bound


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within the context torch takes one thread: how many it has else depends on the number of processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Controller(nn.Module):
    """A two-layer LSTM that writes a network as a list of numbers, the type of one block after the other.

    Args:
        num_types: K_i of the N positions.
        width: of the hidden state.
    """

    def __init__(self, num_types: tuple[int, ...], width: int = 64) -> None:
        super().__init__()
        self.num_types = num_types
        most = max(num_types)
        self.embed = nn.Embedding(most + 1, width)  # of the last number; the first one follows a start symbol
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.score = nn.Linear(width, most)

    def forward(self, choices: Tensor) -> Tensor:
        """Return the log-probabilities of networks, int64 [B, N], as float32 [B]."""
        start = torch.full_like(choices[:, :1], self.embed.num_embeddings - 1)
        hidden, _ = self.lstm(self.embed(torch.cat([start, choices[:, :-1]], dim=1)))  # [B, N, width]
        return self._log_probabilities(hidden).gather(2, choices[:, :, None])[:, :, 0].sum(dim=1)

    @torch.no_grad()
    def draw(self, draws: torch.Generator) -> Choices:
        """Draw a network."""
        choices: list[int] = []
        last, state = torch.tensor([[self.embed.num_embeddings - 1]]), None
        for position in range(len(self.num_types)):
            hidden, state = self.lstm(self.embed(last), state)  # [1, 1, width]
            probabilities = self._log_probabilities(hidden, position)[0, 0].exp()
            choices.append(int(torch.multinomial(probabilities, 1, generator=draws)))
            last = torch.tensor([[choices[-1]]])
        return tuple(choices)

    def _log_probabilities(self, hidden: Tensor, first: int = 0) -> Tensor:
        """Log-probabilities [B, n, K] at n positions from ``first``; types that a position has not are impossible."""
        counts = torch.tensor(self.num_types[first : first + hidden.shape[1]])
        absent = torch.arange(self.score.out_features) >= counts[:, None]  # [n, K]
        return self.score(hidden).masked_fill(absent, -torch.inf).log_softmax(dim=-1)


class Reinforce:
    """REINFORCE: a controller draws networks, each is trained from scratch, and the controller learns from the rewards.

    The advantage of a network is its reward (eq. 2) less the moving average of all rewards before it. Networks that are
    not below the bound are rewarded with -1 and not trained; they cost no images, and the history does not have them.

    Args:
        epochs: that each network is trained for.
        batch: networks that are drawn and trained between two steps of the controller.
        lr: of the controller's Adam.
        decay: of the moving average.
        width: of the controller's hidden state.

    Raises:
        InputError: ``epochs`` does not divide the epochs of the budget, or a value is out of range.
    """

    def __init__(
        self,
        space: BoundedSpace,
        budget: Budget,
        *,
        seed: int,
        epochs: int = 4,
        batch: int = 10,
        lr: float = 0.01,
        decay: float = 0.9,
        width: int = 64,
    ) -> None:
        for name, value in (("epochs", epochs), ("batch", batch), ("width", width)):
            if value < 1:
                raise InputError(f"project.method.{name}={value} is too small: at least 1")
        if lr <= 0 or not 0 <= decay < 1:
            raise InputError(f"project.method.lr={lr} should be above 0, and decay={decay} from 0 to below 1")
        self.space, self.seed, self.epochs, self.batch, self.decay = space, seed, epochs, batch, decay
        self.num_networks = num_networks(budget, epochs)
        with forked(seed, Purpose.INITIALISATION):
            self.controller = Controller(space.num_types, width)
        self.optimizer = torch.optim.Adam(self.controller.parameters(), lr=lr)
        self.baseline: float | None = None

    def search(self, trainer: Trainer) -> Found:
        """Train batch after batch, see :class:`Method`."""
        best, num_trained, iteration, barren = Found((), -1.0), 0, 0, 0
        while num_trained < self.num_networks:
            drawn = self._draw(iteration, min(self.batch, self.num_networks - num_trained))
            within = [choices for choices in drawn if self.space.is_within(choices)]
            jobs = [
                from_scratch(iteration, num_trained + number, choices, self.epochs)
                for number, choices in enumerate(within)
            ]
            results = trainer.train(jobs)
            accuracies = iter([result.accuracies[0] for result in results])
            self.learn(drawn, [self.space.reward(one, next(accuracies) if one in within else 0.0) for one in drawn])
            barren = 0 if jobs else barren + 1
            if barren == MAX_BARREN:
                raise InputError(
                    f"the controller drew no network below project.bound={self.space.bound:,.0f} in {barren} batches "
                    f"of {self.batch}; raise the bound"
                )
            if jobs:
                leader = max(best, best_of(jobs, results), key=lambda found: found.accuracy)
                trainer.decide(iteration, None, leader.choices, leader.accuracy)
                trainer.forget(file for file in (best.weights, *(r.weights for r in results)) if file != leader.weights)
                best = leader
            num_trained, iteration = num_trained + len(jobs), iteration + 1
        return best

    @one_thread()
    def _draw(self, iteration: int, count: int) -> list[Choices]:
        keys = [(Purpose.ARCHITECTURES, iteration, number) for number in range(count)]
        return [self.controller.draw(generator(self.seed, *key)) for key in keys]

    @one_thread()
    def learn(self, choices: list[Choices], rewards: list[float]) -> None:
        """Take a step up the gradient of the expected reward, and move the moving average."""
        advantages = []
        for reward in rewards:
            advantages.append(0.0 if self.baseline is None else reward - self.baseline)
            before = reward if self.baseline is None else self.baseline
            self.baseline = self.decay * before + (1 - self.decay) * reward
        loss = -(torch.tensor(advantages) * self.controller(torch.tensor(choices))).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
