"""A transformer that trains in a second; ``tests/dse/tiny_network.py:tiny`` names it."""

import torch
from torch import nn

WIDTH = 16


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, WIDTH))

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Tiny(nn.Module):
    def __init__(self, num_classes, patch_size):
        super().__init__()
        self.embed = nn.Conv2d(3, WIDTH, patch_size, patch_size)
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Linear(WIDTH, num_classes)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        return self.head(torch.mean(self.blocks(x), 1))


def tiny(num_classes, patch_size):
    return Tiny(num_classes, patch_size or 8)
