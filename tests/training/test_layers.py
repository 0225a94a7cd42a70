"""Layers and optimiser: gradients, dropout's mean, and the paths that a GPU takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from factor_ray.data.sample import Sample
from factor_ray.models.cbapm import CBAPM, CBAPMSettings
from factor_ray.models.cbapm_network import CBAPMTask
from factor_ray.training.adam import StackedAdam, StepSettings
from factor_ray.training.batches import SharedOrder, shared_tensor
from factor_ray.training.layers import Dropout, hidden_layer, linear, square_loss
from factor_ray.training.modules import initial_weights, run_member, seeded
from factor_ray.training.randomness import BitStream
from factor_ray.training.weights import WeightStack


def parameters(members: int, inputs: int, units: int) -> list[torch.Tensor]:
    shapes = [(members, inputs, units), *[(members, units)] * 3]
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]


@pytest.mark.parametrize("members", [1, 3])
def test_hidden_layer_is_its_parts(members):
    x_SBI = torch.randn((members, 5, 4), dtype=torch.float64, requires_grad=True)
    weight, bias, gain, shift = parameters(members, 4, 6)
    mask_SBO = torch.tensor([0.0, 2.0])[torch.randint(2, (members, 5, 6))].double()
    out = hidden_layer(x_SBI, weight, bias, gain, shift, mask_SBO)
    normal = torch.nn.functional.layer_norm(x_SBI @ weight + bias[:, None], (6,)) * gain[:, None] + shift[:, None]
    plain = torch.nn.functional.gelu(normal) * mask_SBO
    torch.testing.assert_close(out, plain)
    pull = torch.randn_like(out)
    inputs = (x_SBI, weight, bias, gain, shift)
    ours, theirs = (torch.autograd.grad((value * pull).sum(), inputs) for value in (out, plain))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_linear_and_loss_have_their_gradients():
    x_SBI = torch.randn((2, 5, 4), dtype=torch.float64, requires_grad=True)
    weight, bias = parameters(2, 4, 3)[:2]
    assert torch.autograd.gradcheck(linear, (x_SBI, weight, bias))
    target, share = torch.randn((5, 4), dtype=torch.float64), torch.rand((5, 4), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: square_loss(x, target, share), (x_SBI,))


@pytest.mark.parametrize("probability", [0.0, 1e-4, 0.1, 0.2, 0.5, 0.9])
def test_dropout_keeps_the_mean(probability):
    bits = BitStream(7, "cpu").draw(400_000).view(1, 400, 1000)
    mask = Dropout(torch.tensor([probability])).mask(bits)
    dropped = float((mask == 0).double().mean())
    assert dropped == pytest.approx(probability, abs=4 * np.sqrt(probability / 400_000) + 1e-5)
    kept = mask[mask != 0]
    assert float(kept.max()) == float(kept.min()) == pytest.approx(1 / (1 - probability), rel=2e-4)
    if probability in (0.0, 0.5):
        assert float(kept[0]) == 1 / (1 - probability)


def test_a_stream_is_its_seeds_alone():
    first, again, other = BitStream(3, "cpu"), BitStream(3, "cpu"), BitStream(4, "cpu")
    assert torch.equal(first.draw(101), again.draw(101))
    assert torch.equal(first.draw(7), again.draw(7))
    assert not torch.equal(first.draw(64), other.draw(64))


def test_the_update_of_a_whole_stack_is_that_of_its_rows():
    """What a GPU does in a few operations on the stack is what a CPU does row by row, to float32 rounding."""
    coupled = [StepSettings(1e-2, 0.1, 0.5), StepSettings(1e-3, 0.0), StepSettings(0.1, 5e-3, 100.0)]
    settings = [*coupled, StepSettings(1e-2, 0.3, 0.5, decoupled=True)]
    generator = torch.Generator().manual_seed(1)
    initial = [{"w": torch.randn((7, 3), generator=generator)} for _ in settings]
    stacks = [WeightStack(initial, None, "cpu") for _ in range(2)]
    rows, whole = (StackedAdam(stack, settings) for stack in stacks)
    for step in range(6):
        present = None if step % 2 else [True, False, True, step > 1]
        gradient = torch.randn((4, 7, 3), generator=generator)
        for stack in stacks:
            stack.passes[0].gradients[0].copy_(gradient)
        rows.step(present)
        whole._step_stack(present)
        if step == 2:
            for adam in (rows, whole):
                adam.set_learning_rates([2e-2, 1e-3, 0.05, 1e-2])
    torch.testing.assert_close(stacks[0].value_Mn, stacks[1].value_Mn, rtol=1e-5, atol=2e-6)


def test_members_together_are_members_one_by_one(monkeypatch):
    """The way of a GPU, all members in a pass, agrees with the way of a CPU to 1e-3 after four epochs."""
    rng = np.random.default_rng(0)
    x_NP = rng.standard_normal((500, 5)).astype(np.float32)
    c_NC = (0.3 * x_NP[:, :2]).astype(np.float32)
    sample = Sample(x_NP, np.zeros(500, np.int32), np.zeros((1, 0), np.float32), 0.1 * c_NC[:, 0], c_NC)
    points = [CBAPMSettings(epochs=4, dropout=p, consensus_weight=w) for p, w in ((0.1, 0.3), (0.5, 1.0), (0.0, 0.0))]
    apart = CBAPM.fit_pack(points, [1, 2, 1], sample, sample, order_seed=0)
    initialise = CBAPMTask.__init__

    def together(self, *args, **options):
        initialise(self, *args, **options)
        self.members_per_pass = None
        self.smallest_stack = 1

    monkeypatch.setattr(CBAPMTask, "__init__", together)
    monkeypatch.setattr(StackedAdam, "step", StackedAdam._step_stack)
    for one, stacked in zip(apart, CBAPM.fit_pack(points, [1, 2, 1], sample, sample, order_seed=0), strict=True):
        np.testing.assert_allclose(one.history["validation_loss"], stacked.history["validation_loss"], rtol=1e-3)


def test_an_epoch_is_every_row_once_in_even_batches():
    rows = np.arange(3, 300, 2)
    order = SharedOrder(rows, 40, order_seed=2)
    first, second = list(order.epoch()), list(order.epoch())
    np.testing.assert_array_equal(np.sort(np.concatenate(first)), rows)
    assert {len(batch) for batch in first} == {37, 38}
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


def test_a_read_only_array_is_shared_without_a_copy():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    array.setflags(write=False)
    tensor = shared_tensor(array)
    assert tensor.data_ptr() == array.__array_interface__["data"][0]


def test_a_module_is_a_member_and_its_dropout_is_its_own():
    """AdamW on a module of torch's own gives the weights of the stack's decoupled step; masks come from identities."""

    def build() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU(), torch.nn.Linear(4, 1))

    weights = initial_weights(build, 7)
    assert all(torch.equal(value, weights[name]) for name, value in initial_weights(build, 7).items())
    module = build()
    module.load_state_dict(weights)
    plain = torch.optim.AdamW(module.parameters(), lr=1e-2, weight_decay=0.3)
    stack = WeightStack([weights], 1, "cpu")
    adam = StackedAdam(stack, [StepSettings(1e-2, 0.3, decoupled=True)])
    x_BP = torch.randn((11, 3), generator=torch.Generator().manual_seed(0))
    template = build()
    for _ in range(5):
        plain.zero_grad()
        module(x_BP).square().mean().backward()
        plain.step()
        through = stack.passes[0]
        gradients = torch.autograd.grad(run_member(template, through, x_BP).square().mean(), through.leaves)
        torch._foreach_copy_(through.gradients, gradients)
        adam.step()
    for name, value in module.named_parameters():
        torch.testing.assert_close(stack.passes[0].weights[name][0], value, rtol=1e-5, atol=1e-7)
    with seeded("dropout", 7, 1):
        first = torch.rand(5)
    state = torch.random.get_rng_state()
    with seeded("dropout", 7, 1):
        assert torch.equal(torch.rand(5), first)
    assert torch.equal(torch.random.get_rng_state(), state)
