"""Data, training loop, weight cache and recovery."""

from models.training._cache import read_making, save_weights, trained, weights_path
from models.training._data import Data, Normalisation, Split
from models.training._files import atomically, cache_folder
from models.training._load import DATASETS, load_data
from models.training._loop import Epoch, History, Score, evaluate, fit
from models.training._recipe import TrainingRecipe, default_recipe, upcycled_recipe

__all__ = [
    "DATASETS",
    "Data",
    "Epoch",
    "History",
    "Normalisation",
    "Score",
    "Split",
    "TrainingRecipe",
    "atomically",
    "cache_folder",
    "default_recipe",
    "evaluate",
    "fit",
    "load_data",
    "read_making",
    "save_weights",
    "trained",
    "upcycled_recipe",
    "weights_path",
]
