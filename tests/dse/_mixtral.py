"""A mixture of experts of Hugging Face that trains in seconds."""

import torch

import models


def tiny_mixtral(transformers):
    """Three experts, two of them for each token; its experts are ours."""
    torch.manual_seed(0)
    config = transformers.MixtralConfig(
        vocab_size=12,
        hidden_size=16,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=3,
        num_experts_per_tok=2,
        use_cache=False,
    )
    return models.adapt(transformers.MixtralForCausalLM(config))
