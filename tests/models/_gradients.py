"""What a network's backward finds under a mode of PyTorch, and seeds for its tests."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded():
    """Every test of a module that imports this draws the same numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def gradients(network, x, mode, *, low=False, format=torch.contiguous_format):
    """The output, and the gradients of the input and of all parameters."""
    network, x = network.to(memory_format=format), x.detach().to(memory_format=format)
    x.requires_grad_()
    with mode:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            y = network(x)
        y.float().square().mean().backward()
    found = [y.detach(), x.grad, *(p.grad for p in network.parameters())]
    network.zero_grad(set_to_none=True)
    return found


def difference(found, expected):
    """The largest relative change of any gradient, or of the output."""
    assert [t.dtype for t in found] == [t.dtype for t in expected]
    return max(
        float((a - b).float().norm() / b.float().norm())
        for a, b in zip(found, expected, strict=True)
    )
