"""Data, training loop, weight cache and recovery."""

from models.training._base import base_network
from models.training._cache import (
    check_trained_on,
    read_making,
    save_weights,
    trained,
    weights_path,
)
from models.training._data import Data, Normalisation, Split
from models.training._distributed import is_first, local_device
from models.training._files import atomically, cache_folder, check_writable
from models.training._load import DATASETS, check_dataset, load_data
from models.training._loop import (
    Epoch,
    TrainingHistory,
    evaluate,
    evaluate_images,
    fit,
)
from models.training._metric import Metric, check_pickles, default_loss, metric_of
from models.training._own_data import check_classifier, check_metric, data_of
from models.training._quick import quick_products
from models.training._recipe import (
    TrainingRecipe,
    default_recipe,
    finetuning_recipe,
    upcycled_recipe,
)
from models.training._score import ACCURACY, FEW_IMAGES, Measure, Score
from models.training._source import check_seed
from models.training._train_to_file import (
    Start,
    TrainedWeights,
    prepare_out,
    starting_network,
    train_to_file,
)
from models.training._weights import (
    fits,
    load_pretrained_,
    load_state_,
    load_weights_,
    read_weights,
    state_digest,
    tensors_of,
)
from models.training.recovery import (
    ExpertImages,
    FineTuned,
    FineTuning,
    Recovered,
    Recovery,
    Reference,
    Step,
    expert_images,
    fine_tune_,
    has_batchnorm,
    recalibrate_,
    recover,
)

__all__ = [
    "ACCURACY",
    "DATASETS",
    "FEW_IMAGES",
    "Data",
    "Epoch",
    "ExpertImages",
    "FineTuned",
    "FineTuning",
    "Measure",
    "Metric",
    "Normalisation",
    "Recovered",
    "Recovery",
    "Reference",
    "Score",
    "Split",
    "Start",
    "Step",
    "TrainedWeights",
    "TrainingHistory",
    "TrainingRecipe",
    "atomically",
    "base_network",
    "cache_folder",
    "check_classifier",
    "check_dataset",
    "check_metric",
    "check_pickles",
    "check_seed",
    "check_trained_on",
    "check_writable",
    "data_of",
    "default_loss",
    "default_recipe",
    "evaluate",
    "evaluate_images",
    "expert_images",
    "fine_tune_",
    "finetuning_recipe",
    "fit",
    "fits",
    "has_batchnorm",
    "is_first",
    "load_data",
    "load_pretrained_",
    "load_state_",
    "load_weights_",
    "local_device",
    "metric_of",
    "prepare_out",
    "quick_products",
    "read_making",
    "read_weights",
    "recalibrate_",
    "recover",
    "save_weights",
    "starting_network",
    "state_digest",
    "tensors_of",
    "train_to_file",
    "trained",
    "upcycled_recipe",
    "weights_path",
]
