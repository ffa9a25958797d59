"""Bright bars on small images, and networks that tell them apart: subjects of recovery's tests."""

import dataclasses

import torch
from torch import nn

import models
from models import Data, FineTuning, Recovery, Split, TrainingRecipe

TRAINING = TrainingRecipe(epochs=3, batch_size=32, optimizer="adamw", lr=2e-3, weight_decay=0.0)
FREE = Recovery(tune_weights="squared", operand_order="choose", images=96)


def split(count, seed):
    """Three classes: which third of the image is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=generator)
    images = torch.rand(count, 1, 6, 6, generator=generator)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += 0.3
    return Split(images, labels)


def bars():
    """256 images to train on, 192 to validate."""
    return Data("bars", split(256, 0), split(192, 1), split(64, 2), num_classes=3)


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 3),
    )


def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 24), nn.ReLU(), nn.Linear(24, 3))


def trained_networks(data):
    """Both networks, trained for six epochs."""
    networks = {}
    for make in (convolutional, plain):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            network = make()
        models.fit(network, data, dataclasses.replace(TRAINING, epochs=6), seed=0)
        networks[make.__name__] = network
    return networks


def approximated(network, data, multiplier="mul8s_1L1G"):
    batches = data.train.take(96).batches(96)
    return models.emulate(network, multiplier, calibration=batches)


def tuning(**changes):
    names = {field.name for field in dataclasses.fields(TrainingRecipe)}
    training = {k: v for k, v in changes.items() if k in names}
    rest = {k: v for k, v in changes.items() if k not in names}
    return FineTuning(dataclasses.replace(TRAINING, **training), **rest)
