"""Hugging Face's networks: nothing goes missing, and their mixtures keep their function."""

import pytest
import torch
from torch import nn

import energy
from luts import EXACT, InputError
from models import adapt, emulate, expert_work, measure_routing, sites
from models.networks._timm import timm

timm()  # makes torchvision importable on a CPU build of torch
transformers = pytest.importorskip("transformers", minversion="5")
transformers.logging.set_verbosity_error()

TOKENS = torch.randint(3, 64, (8, 12), generator=torch.Generator().manual_seed(0))
D, H, LAYERS = 32, 24, 2
BASE = {
    "vocab_size": 64,
    "hidden_size": D,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
WIDE = {**BASE, "intermediate_size": H}
NARROW = {**BASE, "intermediate_size": 40, "moe_intermediate_size": H}


class Logits(nn.Module):
    """A network that gives the tensor of interest alone."""

    def __init__(self, kind, config):
        super().__init__()
        torch.manual_seed(0)
        self.network = getattr(transformers, kind)(config).eval()
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.15)

    def forward(self, tokens):
        output = self.network(tokens)
        return output[0]


def made(kind, config, **settings):
    return Logits(kind, getattr(transformers, config)(**settings)).eval()


DBRX = {
    "ffn_config": {"hidden_size": D, "ffn_hidden_size": H, "moe_num_experts": 4, "moe_top_k": 2},
    "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 10000.0},
}
SWITCH = {"d_kv": 8, "d_ff": H, "num_heads": 4, "num_experts": 4, "expert_capacity": 64}
DEEPSEEK = {
    **{"n_routed_experts": 8, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1},
    **{"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8},
    **{"v_head_dim": 8, "num_hidden_layers": LAYERS + 1, "num_key_value_heads": 4},
}
FOUR = {"num_experts_per_tok": 2, "num_experts": 4}
LOCAL = {"num_experts_per_tok": 2, "num_local_experts": 4}

MIXTURES = {
    # network, configuration, its settings, experts for one token, products of an expert
    "Mixtral": ("MixtralForCausalLM", "MixtralConfig", {**WIDE, **LOCAL}, 2, 3),
    "Qwen2-MoE": ("Qwen2MoeForCausalLM", "Qwen2MoeConfig", {**NARROW, **FOUR}, 2, 3),
    "Qwen3-MoE": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", {**NARROW, **FOUR, "head_dim": 8}, 2, 3),
    "OLMoE": ("OlmoeForCausalLM", "OlmoeConfig", {**WIDE, **FOUR}, 2, 3),
    "DeepSeek-V3": (
        *("DeepseekV3ForCausalLM", "DeepseekV3Config"),
        *({**NARROW, **DEEPSEEK, "num_experts_per_tok": 2}, 2, 3),
    ),
    "GPT-OSS": ("GptOssForCausalLM", "GptOssConfig", {**WIDE, **LOCAL, "head_dim": 8}, 2, 3),
    "DBRX": (
        *("DbrxForCausalLM", "DbrxConfig"),
        *({"d_model": D, "n_heads": 4, "n_layers": LAYERS, "vocab_size": 64, **DBRX}, 2, 3),
    ),
    "Switch": (
        *("SwitchTransformersEncoderModel", "SwitchTransformersConfig"),
        {
            **{"vocab_size": 64, "d_model": D, "num_layers": LAYERS, **SWITCH},
            **{"encoder_sparse_step": 1, "num_sparse_encoder_layers": LAYERS},
        },
        *(1, 2),
    ),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures_keep_their_function_and_are_charged_by_hand(name):
    kind, config, settings, runs, products = MIXTURES[name]
    network = made(kind, config, **settings)
    adapted = adapt(network)
    with torch.no_grad():
        torch.testing.assert_close(adapted(TOKENS), network(TOKENS), rtol=1e-5, atol=1e-5)
    found = sites(adapted, TOKENS)
    assert found.coverage > 0.99 and not found.unreached
    layers = {site.expert_layer for site in found if site.expert_layer is not None}
    assert {(s.expert_layer) for s in found if s.kind == "router"} == layers
    assert len(layers) == LAYERS
    routing = measure_routing(adapted, [TOKENS], source="8 sequences")
    workload = energy.Workload(found, routing, expert_work(adapted, TOKENS))
    rows = energy.cost(workload, EXACT).rows
    expected = sum(row.macs_expected for row in rows if row.expert is not None)
    assert expected == pytest.approx(LAYERS * TOKENS.shape[1] * runs * products * D * H)


@pytest.mark.parametrize("name", [name for name in MIXTURES if name != "Switch"])
def test_fused_experts_that_were_not_adapted_are_refused(name):
    kind, config, settings, *_ = MIXTURES[name]
    weights = r"experts\.mlp\.w1" if name == "DBRX" else r"experts\.gate_up_proj"
    for ask in (
        lambda net: sites(net, TOKENS),
        lambda net: emulate(net, EXACT, calibration=[TOKENS]),
    ):
        with pytest.raises(InputError, match=rf"{weights} .*models\.adapt\(network\)"):
            ask(made(kind, config, **settings))


@pytest.mark.parametrize("name", ["Mixtral", "GPT-OSS"])
def test_emulated_mixtures_are_near_the_float_network(name):
    kind, config, settings, *_ = MIXTURES[name]
    adapted = adapt(made(kind, config, **settings))
    emulated = emulate(adapted, EXACT, calibration=[TOKENS], method="max")
    with torch.no_grad():
        want, exact = adapted(TOKENS), emulated(TOKENS)
        assert torch.allclose(emulated.in_float()(TOKENS), want, atol=1e-5)
        assert 0 < (exact - want).norm() / want.norm() < 0.3  # a token may change its expert
        emulated.assign_("mul8s_1KR3")
        assert not torch.allclose(emulated(TOKENS), exact)


ATTENTION = {"vocab_size": 64, "hidden_size": D, "num_attention_heads": 4}
DENSE = {
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", {"n_embd": D, "n_layer": 1, "n_head": 4}),
    "Falcon": ("FalconForCausalLM", "FalconConfig", {**ATTENTION, "num_hidden_layers": 1}),
    "Bloom": ("BloomForCausalLM", "BloomConfig", {"hidden_size": D, "n_layer": 1, "n_head": 4}),
    "XLNet": (
        *("XLNetLMHeadModel", "XLNetConfig"),
        {"d_model": D, "n_layer": 1, "n_head": 4, "d_inner": 64},
    ),
    "DeBERTa": (
        *("DebertaV2ForMaskedLM", "DebertaV2Config"),
        {
            **{**ATTENTION, "num_hidden_layers": 1, "intermediate_size": 64},
            **{"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
        },
    ),
}


@pytest.mark.parametrize("name", DENSE)
def test_dense_networks_are_covered(name):
    kind, config, settings = DENSE[name]
    network = made(kind, config, **{**settings, "vocab_size": 64})
    emulated = emulate(network, EXACT, calibration=[TOKENS], method="max")
    assert emulated.sites.coverage > 0.99 and not emulated.sites.unreached
    with torch.no_grad():
        want = network(TOKENS)
        assert (emulated(TOKENS) - want).norm() / want.norm() < 0.1
