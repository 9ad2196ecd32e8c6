"""Neural architecture search with expert advice, for PyTorch.

The names below are the public ones; everything else may move without notice. Each is imported when it is first
used, so that `import xnas` is quick and does not load torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xnas.classifier import ImageClassifier as ImageClassifier
    from xnas.config.loading import read_config as read_config
    from xnas.config.loading import read_preset as read_preset
    from xnas.config.schema import Config as Config
    from xnas.data.images import DataSet as DataSet
    from xnas.data.images import ImageSet as ImageSet
    from xnas.data.sets.registry import load_data as load_data
    from xnas.export.load import load as load
    from xnas.optimizers.asap import Asap as Asap
    from xnas.optimizers.darts import Darts as Darts
    from xnas.optimizers.darts_second import DartsSecondOrder as DartsSecondOrder
    from xnas.optimizers.gaea import Gaea as Gaea
    from xnas.optimizers.gdas import Gdas as Gdas
    from xnas.optimizers.snas import Snas as Snas
    from xnas.optimizers.xnas import XNAS as XNAS
    from xnas.report.figures.architecture import draw_genotype as draw_genotype
    from xnas.report.page import write_report as write_report
    from xnas.runs.folder import RunFolder as RunFolder
    from xnas.runs.folder import RunRecord as RunRecord
    from xnas.space.architecture import read_genotype as read_genotype
    from xnas.space.backbone import NetworkSpec as NetworkSpec
    from xnas.space.cost import count_multiply_adds as count_multiply_adds
    from xnas.space.cost import count_parameters as count_parameters
    from xnas.space.darts.network import Network as Network
    from xnas.space.darts.network import build_network as build_network
    from xnas.space.darts.space import DartsSpace as DartsSpace
    from xnas.space.forecaster import Forecaster as Forecaster
    from xnas.space.genotype import CellGenotype as CellGenotype
    from xnas.space.genotype import Edge as Edge
    from xnas.space.genotype import Genotype as Genotype
    from xnas.space.nasbench201.genotype import Nasbench201Genotype as Nasbench201Genotype
    from xnas.space.nasbench201.space import Nasbench201Space as Nasbench201Space
    from xnas.space.published import published_genotype as published_genotype
    from xnas.space.published import published_names as published_names
    from xnas.study.runner import run_study as run_study
    from xnas.study.spec import StudySpec as StudySpec
    from xnas.train.pipeline import retrain as retrain
    from xnas.train.pipeline import run as run
    from xnas.train.pipeline import search as search
    from xnas.train.retrain import RetrainTrainer as RetrainTrainer
    from xnas.train.search import SearchTrainer as SearchTrainer
    from xnas.train.trained_network import TrainedNetwork as TrainedNetwork

_HOMES = {
    "Asap": "xnas.optimizers.asap",
    "CellGenotype": "xnas.space.genotype",
    "Config": "xnas.config.schema",
    "Darts": "xnas.optimizers.darts",
    "DartsSecondOrder": "xnas.optimizers.darts_second",
    "DartsSpace": "xnas.space.darts.space",
    "DataSet": "xnas.data.images",
    "Edge": "xnas.space.genotype",
    "Forecaster": "xnas.space.forecaster",
    "Gaea": "xnas.optimizers.gaea",
    "Gdas": "xnas.optimizers.gdas",
    "Genotype": "xnas.space.genotype",
    "ImageClassifier": "xnas.classifier",
    "ImageSet": "xnas.data.images",
    "Nasbench201Genotype": "xnas.space.nasbench201.genotype",
    "Nasbench201Space": "xnas.space.nasbench201.space",
    "Network": "xnas.space.darts.network",
    "NetworkSpec": "xnas.space.backbone",
    "RetrainTrainer": "xnas.train.retrain",
    "RunFolder": "xnas.runs.folder",
    "RunRecord": "xnas.runs.folder",
    "SearchTrainer": "xnas.train.search",
    "Snas": "xnas.optimizers.snas",
    "StudySpec": "xnas.study.spec",
    "TrainedNetwork": "xnas.train.trained_network",
    "XNAS": "xnas.optimizers.xnas",
    "build_network": "xnas.space.darts.network",
    "count_multiply_adds": "xnas.space.cost",
    "count_parameters": "xnas.space.cost",
    "draw_genotype": "xnas.report.figures.architecture",
    "load": "xnas.export.load",
    "load_data": "xnas.data.sets.registry",
    "published_genotype": "xnas.space.published",
    "published_names": "xnas.space.published",
    "read_config": "xnas.config.loading",
    "read_genotype": "xnas.space.architecture",
    "read_preset": "xnas.config.loading",
    "retrain": "xnas.train.pipeline",
    "run": "xnas.train.pipeline",
    "run_study": "xnas.study.runner",
    "search": "xnas.train.pipeline",
    "write_report": "xnas.report.page",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'xnas' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
