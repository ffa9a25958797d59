"""MACs of the sites against PyTorch's own operation counter."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import energy
import models


@pytest.mark.parametrize("topology", models.TOPOLOGIES)
@pytest.mark.parametrize("arch", models.ARCHITECTURES)
def test_macs_of_one_image(arch, topology):
    network = models.build(arch, topology=topology, image_size=32).eval()
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    counter = FlopCounterMode(display=False)
    # The counter does not know the processor's fused attention; the plain one is two products.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        network(image)
    routing = models.measure_routing(network, [image], source="this image")
    breakdown = energy.cost(
        energy.Workload.of_network(network, image, routing),
        "mul8s_1KV8",
    )
    assert 2 * breakdown.macs_expected == pytest.approx(counter.get_total_flops(), rel=1e-9)
