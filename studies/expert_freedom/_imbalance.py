"""Data in which some classes are rare, so that experts may be visited unlike often."""

import dataclasses

import numpy as np
import torch

from models import Data, Split


def imbalanced(data: Data, factor: float) -> Data:
    """The first images of each class, fewer from class to class, geometrically.

    Args:
        data: with as many images of every class, more or less.
        factor: images of the first class for one of the last.

    Returns:
        Data whose name says so; what is left is shuffled as it was.
    """
    shares = float(factor) ** (-np.arange(data.num_classes) / max(1, data.num_classes - 1))

    def thinned(split: Split) -> Split:
        labels = split.labels.numpy()
        rank = np.zeros(len(labels), dtype=np.int64)
        most = np.zeros(data.num_classes)
        for label in range(data.num_classes):
            mine = np.flatnonzero(labels == label)
            rank[mine], most[label] = np.arange(len(mine)), np.ceil(shares[label] * len(mine))
        return split.subset(torch.from_numpy(np.flatnonzero(rank < most[labels])))

    return dataclasses.replace(
        data,
        name=f"{data.name}, classes {factor:g}:1",
        train=thinned(data.train),
        validation=thinned(data.validation),
        test=thinned(data.test),
    )
