"""The counter beside another one, which reads PyTorch's traces: fvcore, where it is installed."""

import pytest
import torch

from models import build
from tests.models.counting import counted

analysis = pytest.importorskip("fvcore.nn", reason="fvcore is in axdse[dev]")

PRODUCTS = {"conv", "addmm", "bmm", "matmul", "einsum", "linear", "mv", "dot", "baddbmm"}
NETWORKS = {
    **dict.fromkeys(("resnet20", "vgg11_bn", "vit_small"), 32),
    **dict.fromkeys(
        (
            *("timm:resnet10t", "timm:mobilenetv3_small_050", "timm:regnetx_002"),
            *("timm:ghostnet_050", "timm:convnext_atto", "timm:mobilevit_xxs"),
            "timm:efficientvit_b0",
        ),
        64,
    ),
}


@pytest.mark.filterwarnings("ignore")  # of its traces
@pytest.mark.parametrize("name", NETWORKS)
def test_products_are_those_that_fvcore_counts(name):
    size = NETWORKS[name]
    network, image = build(name, image_size=size).eval(), torch.randn(1, 3, size, size)
    for module in network.modules():  # fvcore does not know fused attention
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    flops = analysis.FlopCountAnalysis(network, image)
    flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    theirs = sum(count for what, count in flops.by_operator().items() if what in PRODUCTS)
    assert len(NETWORKS) == 10 and theirs > 0
    assert counted(lambda: network(image)) == (theirs, set())
