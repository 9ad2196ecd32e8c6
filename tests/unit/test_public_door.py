"""What users import, and what they do not have to wait for."""

import subprocess
import sys

import pytest

import xnas


def test_the_public_names_are_these() -> None:
    assert sorted(xnas.__all__) == [
        "Asap",
        "CellGenotype",
        "Config",
        "Darts",
        "DartsSecondOrder",
        "DartsSpace",
        "DataSet",
        "Edge",
        "Forecaster",
        "Gaea",
        "Gdas",
        "Genotype",
        "ImageClassifier",
        "ImageSet",
        "Nasbench201Genotype",
        "Nasbench201Space",
        "Network",
        "NetworkSpec",
        "RetrainTrainer",
        "RunFolder",
        "RunRecord",
        "SearchTrainer",
        "Snas",
        "StudySpec",
        "TrainedNetwork",
        "XNAS",
        "build_network",
        "count_multiply_adds",
        "count_parameters",
        "draw_genotype",
        "load",
        "load_data",
        "published_genotype",
        "published_names",
        "read_config",
        "read_genotype",
        "read_preset",
        "retrain",
        "run",
        "run_study",
        "search",
        "write_report",
    ]
    assert dir(xnas) == sorted(xnas.__all__)


@pytest.mark.parametrize("name", xnas.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(xnas, name)
    assert value.__name__ == name
    assert value.__doc__


def test_an_unknown_name_is_an_attribute_error_as_usual() -> None:
    with pytest.raises(AttributeError, match="module 'xnas' has no attribute 'Forcaster'"):
        xnas.Forcaster  # noqa: B018


def test_import_xnas_does_not_import_torch() -> None:
    code = "import sys, xnas; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_processes_of_a_run_begin_without_what_they_may_never_need() -> None:
    slow = (
        "scipy",
        "torchvision",
        "matplotlib",
        "torch._dynamo",
    )  # seconds of every task of a sweep, every rank
    code = f"import sys, xnas.cli.search, xnas.train.search; sys.exit([n for n in {slow} if n in sys.modules] or 0)"
    subprocess.run([sys.executable, "-c", code], check=True)
