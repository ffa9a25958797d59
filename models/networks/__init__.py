"""Architectures, experts and topologies in plain PyTorch; nothing here knows a multiplier."""
