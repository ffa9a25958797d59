"""Networks with other inputs than one tensor, searched and recovered from end to end."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

import dse
import models
from luts import InputError
from models.networks import Inputs, timm
from models.training import FineTuning, finetuning_recipe
from tests.dse._mixtral import tiny_mixtral
from tests.dse._searching import one_cache  # noqa: F401

QUICK = {
    **{"multipliers": "mul8s_1KV8,mul8s_1L1G,mul8s_1KTY", "trials": 8, "quiet": True},
    **{"finetune": "front", "finetune_members": 1, "calibration_images": 32},
}
RECIPE = models.TrainingRecipe(epochs=4, batch_size=16, optimizer="adamw", lr=1e-2)
KEYS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def transformers():
    timm()  # makes torchvision importable on a CPU build of torch
    found = pytest.importorskip("transformers", minversion="5")
    found.logging.set_verbosity_error()
    return found


class TwoInputs(nn.Module):
    """Reads two tensors, of which the labels need both."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(6, 8), nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x, y):
        return self.head((self.left(x) + self.right(y)).relu())


def two_inputs(seed, count=64):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(count, width, generator=generator) for width in (6, 4))
    labels = torch.randint(3, (count,), generator=generator)
    x[:, 0] += 4 * (labels == 1)
    y[:, 0] += 4 * (labels == 2)
    return x, y, labels


def tokens(seed, count=64):
    """Sequences whose class is in their first token; padding is masked."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (count,), generator=generator)
    ids = torch.randint(8, 32, (count, 8), generator=generator)
    ids[:, 0] = 4 + labels
    mask = torch.ones_like(ids)
    mask[:, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}, labels


def end_to_end(network, splits, recipe=RECIPE):
    """Train, search and recover; the data and what was found."""
    data = models.data_of(splits)
    models.fit(network, data, recipe, seed=0)
    found = dse.explore(network, data, **QUICK)
    tested = [t for t in found.front if t.test is not None]
    emulated = found.emulated(tested[0])
    again = models.evaluate(emulated, data.test)
    assert again.cross_entropy == pytest.approx(tested[0].test.cross_entropy, rel=1e-4)
    training = dataclasses.replace(
        finetuning_recipe("in-memory", is_convolutional=False),
        epochs=1,
        batch_size=16,
        shift_px=0,
        flip=False,
    )
    recovery = models.Recovery(
        images=32,
        correct_bias=True,
        rescale="activations",
        tune_weights="squared",
        fine_tuning=FineTuning(
            dataclasses.replace(training, epochs=1, batch_size=16, shift_px=0, flip=False)
        ),
    )
    broken = models.emulate(
        network, "mul8s_1L1G", calibration=[b for b, _ in data.train.batches(32)]
    )
    free = dataclasses.replace(recovery, fine_tuning=None)
    images = data.train.images[:32]
    with broken.exactly():
        exact = models.channel_means(broken, images)
    models.recover(broken, free, data, seed=0)
    last = [*exact][-1]
    assert torch.allclose(models.channel_means(broken, images)[last], exact[last], atol=1e-4)
    recovered = models.recover(broken, recovery, data, seed=0, score_steps=True)
    assert [step.name for step in recovered.steps if step.skipped] == ["recalibrate"]
    tuned = recovered.steps[-1]
    assert tuned.name == "fine-tune" and tuned.after.cross_entropy <= tuned.before.cross_entropy
    return data, found


def test_a_network_of_two_inputs():
    torch.manual_seed(0)
    splits = {key: two_inputs(seed) for seed, key in enumerate(KEYS)}
    data, found = end_to_end(TwoInputs(), splits, dataclasses.replace(RECIPE, epochs=8))
    assert isinstance(data.train.pixels, Inputs) and found.closing.exact_test.accuracy > 0.7
    assert {site for t in found.trials for site in t.assignment.choices} == {
        *("left", "right", "head")
    }


def test_a_tiny_bert_on_tokens(transformers):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
    )
    network = transformers.BertForSequenceClassification(config)
    _, found = end_to_end(network, {key: tokens(seed) for seed, key in enumerate(KEYS)})
    assert found.closing.exact_test.accuracy > 0.9
    sites = {site for t in found.trials for site in t.assignment.choices}
    assert {"classifier", "bert.pooler.dense"} <= sites


def test_a_tiny_mixtral_predicts_the_next_token(transformers):
    network = tiny_mixtral(transformers)
    splits = {}
    for seed, key in enumerate(KEYS):
        start = torch.randint(12, (48, 1), generator=torch.Generator().manual_seed(seed))
        counting = (start + torch.arange(7)) % 12
        labels = counting[:, 1:].clone()
        labels[:, 0] = -100  # does not count
        splits[key] = counting[:, :-1], labels
    data, found = end_to_end(network, splits)
    exact = found.closing.exact_test
    with torch.no_grad():
        emulated = models.emulate(network, "mul8s_1KV8", calibration=[data.train.images[:32]])
        ids, labels = splits["test"]
        wanted = functional.cross_entropy(
            emulated(ids).logits[:, 1:].transpose(1, 2), labels[:, 1:]
        )
    assert exact.cross_entropy == pytest.approx(float(wanted), rel=0.02)
    assert any(site.expert is not None for site in emulated.sites)


def test_forms_of_the_same_inputs_are_the_same_data():
    ids, labels = tokens(0)
    x, y, z = two_inputs(0)
    for forms in (
        ((ids, labels), {**ids, "labels": labels}, (((), ids), labels), [(ids, labels)]),
        ((x, y, z), ((x, y), z), (((x, y), {}), z), [(x[:9], y[:9], z[:9]), (x[9:], y[9:], z[9:])]),
    ):
        digests = {models.data_of([form] * 3).content_sha256 for form in forms}
        assert len(digests) == 1


def test_inputs_that_do_not_fit_are_refused():
    x, y, z = two_inputs(0)
    with pytest.raises(InputError, match="all batches hold the same arguments"):
        models.data_of([[(x, y, z), (x[:, :3], y, z)]] * 3)
    with pytest.raises(InputError, match="TwoInputs does not take inputs of shape"):
        dse.explore(TwoInputs(), [(x, z)] * 3, **QUICK)
    with pytest.raises(InputError, match="train has 64 inputs and 63 labels"):
        models.data_of([((x, y), z[1:])] * 3)


def test_inputs_are_taken_like_rows_of_a_tensor():
    x, y, _ = two_inputs(0)
    inputs = Inputs((x,), {"y": y, "scale": torch.ones(3)})
    part = inputs[torch.tensor([3, 1])]
    assert torch.equal(part.args[0], x[[3, 1]]) and torch.equal(part.kwargs["scale"], torch.ones(3))
    again = Inputs.joined([inputs[:5], inputs[5:]])
    assert torch.equal(again.args[0], x) and torch.equal(again.kwargs["y"], y)
