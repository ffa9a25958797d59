"""MACs of the sites against PyTorch's own operation counter."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import energy
import models
from models.networks import ExpertLayer


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


class OwnProducts(TorchDispatchMode):
    """Counts the multiply-accumulates that expert layers do themselves, by type of number."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.running: list[nn.Module] = []
        self.macs: Counter[torch.dtype] = Counter()
        for module in network.modules():
            module.register_forward_pre_hook(lambda m, _: self.running.append(m))
            module.register_forward_hook(lambda *_: self.running.pop() and None, always_call=True)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if self.running and isinstance(self.running[-1], ExpertLayer):
            name = func.overloadpacket
            if name in (torch.ops.aten.mm, torch.ops.aten.bmm):
                self.macs[args[0].dtype] += output.numel() * args[0].shape[-1]
        return output


@pytest.mark.parametrize("topology", ["soft", "cluster"])
@pytest.mark.parametrize("arch", ["vit_small", "resnet20"])
def test_overhead_is_what_an_emulated_network_runs_in_float(arch, topology):
    network = models.build(arch, topology=topology).eval()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    emulated = models.emulate(network, "mul8s_1L1G", calibration=[images])
    own = OwnProducts(emulated.network)
    with torch.no_grad(), own:
        emulated.network(images[:1])
    layers = models.expert_work(network, images[:1])
    assert own.macs == {torch.float32: sum(layer.overhead_macs for layer in layers)}
    workload = energy.Workload.of_network(network, images[:1], models.uniform_routing(network))
    rows = [row for row in energy.cost(workload, "mul8s_1L1G").rows if row.kind == "overhead"]
    assert {row.multiplier for row in rows} == {"float32"}
