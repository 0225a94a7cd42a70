"""Ten members of CB-APM as one stack, against the two loops that a user would write in plain PyTorch.

    python benchmarks/stack.py [--rows 200000] [--rounds 3] [--paper]

Table B.1's network (64-32-9-1, LayerNorm, GELU, dropout .5, Adam with weight decay, clip 1) on rows of 146 inputs in
batches of 5,000. The loops alternate in one process on one thread, so that a busy machine slows all alike; the malloc
setting that our loop makes serves the plain ones too. A member-epoch is one pass of one member over all rows.

With a GPU, 110 members are also compared with the slices loop on that GPU; ``--paper`` times the paper's 1,100 fits (10
windows of up to 605,722 rows, 11 values of lambda, 10 members) there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from factor_ray.data.sample import Sample
from factor_ray.models.cbapm import CBAPM, CBAPMSettings
from factor_ray.models.cbapm_network import CBAPMTask
from factor_ray.training.adam import StepSettings
from factor_ray.training.loop import train
from factor_ray.training.schedule import Schedule

INPUTS, VARIABLES, BATCH, LAMBDA = 146, 9, 5000, 0.3
PAPER_ROWS, PAPER_WINDOWS, PAPER_MEMBERS = 605_722, 10, 10


def main() -> None:
    """Print one table a device."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--paper", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sample = simulated(options.rows)
    compare(sample, options.rounds, members=10, device="cpu", with_loader=True)
    if torch.cuda.is_available():
        compare(sample, options.rounds, members=110, device="cuda", with_loader=False)
        if options.paper:
            paper()


def compare(sample: Sample, rounds: int, *, members: int, device: str, with_loader: bool) -> None:
    """Time the loops in turn, ``rounds`` times, and print their medians."""
    clock = time.perf_counter if device == "cuda" else time.process_time  # other work on the machine counts little
    slices = slices_loop(sample, device)
    loops: dict[str, tuple[Callable[[], None], int]] = {"slices of one tensor": (slices, 1)}
    if with_loader:
        loops = {"DataLoader": (loader_loop(sample), 1), **loops}
    loops[f"stack of {members}"] = (stack_loop(sample, members, device), members)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    slices()
    for _ in range(rounds):
        for name, (run, fits) in loops.items():
            started = clock()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            seconds[name].append((clock() - started) / fits)
    ours = float(np.median(seconds[f"stack of {members}"]))
    print(f"torch {torch.__version__}, {device}, 1 thread, {len(sample)} x {INPUTS} rows, batch {BATCH}")
    print("| loop                 | member-epochs/s | the stack is faster by |")
    print("|----------------------|-----------------|------------------------|")
    for name, values in seconds.items():
        print(f"| {name:20} | {1 / np.median(values):15.3f} | {np.median(values) / ours:21.2f}x |")


def simulated(rows: int) -> Sample:
    """Random rows: the time of a step does not depend on their values."""
    rng = np.random.default_rng(0)
    return Sample(
        x_NP=rng.standard_normal((rows, INPUTS), dtype=np.float32),
        month_N=np.zeros(rows, np.int32),
        z_Td=np.zeros((1, 0), np.float32),
        y_N=rng.standard_normal(rows, dtype=np.float32),
        c_NC=rng.standard_normal((rows, VARIABLES), dtype=np.float32),
    )


def head(sample: Sample, rows: int) -> Sample:
    """Return the first rows."""
    return Sample(sample.x_NP[:rows], sample.month_N[:rows], sample.z_Td, sample.y_N[:rows], sample.c_NC[:rows])


def stack_loop(sample: Sample, members: int, device: str) -> Callable[[], None]:
    """Our loop, one epoch, with a validation of a hundred rows."""
    points = [CBAPMSettings(batch_size=BATCH, consensus_weight=LAMBDA)] * members
    settings = [StepSettings(point.learning_rate, point.weight_decay, point.gradient_clip) for point in points]
    task = CBAPMTask(points, range(members), sample, head(sample, 100), order_seed=0, device=device)

    def epoch() -> None:
        train(task, settings, Schedule(epochs=1, patience=1), device=device)

    return epoch


class PlainNetwork(nn.Module):
    """Table B.1's network."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, units in ((INPUTS, 64), (64, 32)):
            layers += [nn.Linear(inputs, units), nn.LayerNorm(units), nn.GELU(), nn.Dropout(0.5)]
        self.hidden, self.consensus, self.head = (
            nn.Sequential(*layers),
            nn.Linear(32, VARIABLES),
            nn.Linear(VARIABLES, 1),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Forecast the return and the consensus."""
        c = self.consensus(self.hidden(x))
        return self.head(c)[:, 0], c


def plain_step(device: str) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]:
    """One step of one plain model."""
    network = PlainNetwork().to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=5e-3)

    def step(x: torch.Tensor, y: torch.Tensor, c: torch.Tensor) -> None:
        r_hat, c_hat = network(x)
        loss = nn.functional.mse_loss(r_hat, y) + LAMBDA * nn.functional.mse_loss(c_hat, c)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()

    return step


def slices_loop(sample: Sample, device: str) -> Callable[[], None]:
    """Shuffle the tensors once an epoch, then walk through slices of them."""
    tensors = [torch.from_numpy(array).to(device) for array in (sample.x_NP, sample.y_N, sample.c_NC)]
    step = plain_step(device)

    def epoch() -> None:
        order = torch.randperm(len(sample), device=device)
        shuffled = [tensor[order] for tensor in tensors]
        for start in range(0, len(sample), BATCH):
            x, y, c = (tensor[start : start + BATCH] for tensor in shuffled)
            step(x, y, c)

    return epoch


def loader_loop(sample: Sample) -> Callable[[], None]:
    """Walk through a shuffling DataLoader over a TensorDataset."""
    tensors = (torch.from_numpy(array) for array in (sample.x_NP, sample.y_N, sample.c_NC))
    dataset = torch.utils.data.TensorDataset(*tensors)
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True)
    step = plain_step("cpu")

    def epoch() -> None:
        for x, y, c in loader:
            step(x, y, c)

    return epoch


def paper() -> None:
    """Time the paper's 1,100 fits on the GPU; on random targets they stop early, so the rate is what counts."""
    everything = simulated(PAPER_ROWS)
    points = [
        CBAPMSettings(batch_size=BATCH, consensus_weight=number / 10, warm_up=0)
        for number in range(11)
        for _ in range(PAPER_MEMBERS)
    ]
    seeds = list(range(PAPER_MEMBERS)) * 11
    started, epochs = time.perf_counter(), 0
    for window in range(PAPER_WINDOWS):
        rows = PAPER_ROWS * (17 + window) // (17 + PAPER_WINDOWS)
        validation = head(everything, PAPER_ROWS // 14)
        fits = CBAPM.fit_pack(points, seeds, head(everything, rows), validation, order_seed=window, device="cuda")
        epochs += sum(len(fit.history["train_loss"]) for fit in fits)
    seconds = time.perf_counter() - started
    print(f"the paper's {PAPER_WINDOWS * len(points)} fits: {seconds:.0f} s, {epochs / seconds:.1f} member-epochs/s")


if __name__ == "__main__":
    main()
