"""``python -m models.train``, run in this process on a network that trains in no time."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from luts.console import run
from models import train
from models.networks import ARCHITECTURES, Architecture
from models.training import _train_to_file, read_making


class Tiny(nn.Module):
    def __init__(self, *, num_classes, image_size, patch_size, in_channels):
        super().__init__()
        pixels = in_channels * image_size * image_size
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 8), nn.Dropout(0.1))
        self.mlp = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.mlp(self.stem(x)))


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    architecture = Architecture(
        build=lambda **shape: Tiny(**shape),
        expert_sites=lambda network: ("mlp",),
        default_expert_blocks=(0,),
        granularity="token",
    )
    monkeypatch.setitem(ARCHITECTURES, "tiny", architecture)
    monkeypatch.setenv("AXDSE_CACHE", str(tmp_path / "cache"))


def command(monkeypatch, *words: object) -> int:
    """The exit status of the command line."""
    monkeypatch.setattr(sys, "argv", ["train", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        run(train.main)
    return stopped.value.code or 0


BASE = (
    *("--arch", "tiny", "--dataset", "digits", "--image-size", 8),
    *("--epochs", 3, "--lr", 0.01, "--ema", 0.9, "--out"),
)


@pytest.mark.parametrize("topology", ["dense", "hard"])
def test_a_run_writes_weights_with_their_making_and_prints_scores(
    monkeypatch, tmp_path, capsys, topology
):
    out = tmp_path / "new" / "net.safetensors"
    assert command(monkeypatch, *BASE, out, "--topology", topology) == 0
    shown = capsys.readouterr()
    assert "test: " in shown.out and str(out) in shown.out.replace("\n", "")
    assert "epoch 3: loss" in shown.err and "loss" in shown.err
    making = read_making(out)
    assert making["recipe"]["epochs"] == 3 and making["topology"] == topology
    assert making["data"]["train"] == 1078 and len(making["history"]) == 3
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("topology", ["dense", "hard"])
def test_an_interrupted_run_resumes_to_the_same_weights(monkeypatch, tmp_path, capsys, topology):
    whole, stopped = tmp_path / "whole.safetensors", tmp_path / "stopped.safetensors"
    words = ("--topology", topology, "--quiet")
    assert command(monkeypatch, *BASE, whole, *words) == 0

    with monkeypatch.context() as patch:
        report = _train_to_file._report

        def interrupt(epoch, reporter):
            report(epoch, reporter)
            if epoch["epoch"] == 2:
                raise KeyboardInterrupt

        patch.setattr(_train_to_file, "_report", interrupt)
        assert command(patch, *BASE, stopped, "--topology", topology) == 130
    assert "--resume" in capsys.readouterr().err
    assert not stopped.exists()

    assert command(monkeypatch, *BASE, stopped, *words) == 2
    assert "go on with --resume" in capsys.readouterr().err
    assert command(monkeypatch, *BASE, stopped, *words, "--seed", 1, "--resume") == 2
    assert "seed 0 → 1" in capsys.readouterr().err
    assert command(monkeypatch, *BASE, stopped, *words, "--resume") == 0
    expected, resumed = load_file(whole), load_file(stopped)
    assert all(torch.equal(expected[key], resumed[key]) for key in expected)


def test_dense_weights_start_a_mixture_and_those_of_a_mixture_too(monkeypatch, tmp_path):
    dense, hard, more = (tmp_path / f"{name}.safetensors" for name in ("dense", "hard", "more"))
    assert command(monkeypatch, *BASE, dense, "--quiet") == 0
    still = ("--quiet", "--topology", "hard", "--epochs", 0)
    assert command(monkeypatch, *BASE, hard, *still, "--weights", dense) == 0
    assert command(monkeypatch, *BASE, more, *still, "--weights", hard) == 0
    first, second, third = load_file(dense), load_file(hard), load_file(more)
    assert torch.equal(first["stem.1.weight"], second["stem.1.weight"])
    assert all(torch.equal(second[key], third[key]) for key in second)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--arch", "tin"), "did you mean tiny"),
        (("--topology", "dens"), "did you mean dense"),
        (("--dataset", "digit"), "did you mean digits"),
        (("--dataset", "imagefolder:/no/such"), "no data at /no/such"),
        (("--epochs", -1), "epochs"),
        (("--precision", "float1"), "precision"),
        (("--resume",), "nothing to resume"),
        (("--weights", "/no/such.pt"), "no weights at /no/such.pt"),
        (("--weights", "x.pt", "--pretrained"), "either"),
        (("--pretrained",), "resnet20, vgg11_bn, vgg19_bn, vit_small only, not for tiny"),
        (("--device", "abacus"), "no device 'abacus'"),
        (("--experts", 1, "--topology", "hard"), "experts is a whole number from 2 up, not 1"),
        (("--expert-blocks", "1,x"), "numbers are written as in 1,3,5"),
        (("--expert-blocks", 5, "--topology", "hard"), "lie in 0…0, not 5"),
        (("--top-k", 9, "--topology", "hard"), "top_k lies in 1…4"),
        (("--top-k", 3), "dense takes none"),
        (("--expert-blocks", 0), "dense takes none"),
        (("--seed", -1), "a seed is a whole number from 0 to 4294967295, not -1"),
    ],
)
def test_mistakes_are_one_line_and_status_2(monkeypatch, tmp_path, capsys, words, complaint):
    out = tmp_path / "net.safetensors"
    assert command(monkeypatch, *BASE, out, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and complaint in error
    assert not out.exists()


def test_nothing_is_overwritten(monkeypatch, tmp_path, capsys):
    out = tmp_path / "net.safetensors"
    out.write_text("mine")
    assert command(monkeypatch, *BASE, out) == 2
    assert out.read_text() == "mine" and "is not overwritten" in capsys.readouterr().err
    assert command(monkeypatch, *BASE, tmp_path / "net.bin") == 2


@pytest.mark.slow
def test_two_processes_train_one_network_together(tmp_path):
    pytest.importorskip("accelerate")
    script = tmp_path / "together.py"
    script.write_text(
        "import sys, torch\n"
        "from torch import nn\n"
        "from models.training import TrainingRecipe, evaluate, fit, is_first, load_data\n"
        "torch.manual_seed(0)\n"
        "net = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))\n"
        "data = load_data('digits', seed=0, image_size=8)\n"
        "fit(net, data, TrainingRecipe(epochs=4, batch_size=32, lr=0.02), seed=0)\n"
        "name = f'{sys.argv[1]}.{int(is_first())}.pt'\n"
        "torch.save((net.state_dict(), evaluate(net, data.test).accuracy), name)\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for count in (1, 2):
        shared = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
        words = [sys.executable, str(script), str(tmp_path / str(count))]
        running = [
            subprocess.Popen(
                words,
                env=os.environ
                | shared
                | {"WORLD_SIZE": str(count), "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(count)
        ]
        try:
            assert [process.wait(timeout=120) for process in running] == [0] * count
        finally:
            for process in running:
                process.kill()
    alone = torch.load(tmp_path / "1.1.pt", weights_only=True)
    first, other = (torch.load(tmp_path / f"2.{i}.pt", weights_only=True) for i in (1, 0))
    # Without randomness within the step, halves of a batch average to the whole.
    for key, value in alone[0].items():
        assert torch.equal(first[0][key], other[0][key])
        assert torch.allclose(first[0][key], value, atol=1e-3)
    assert first[1] == other[1] > 0.9
