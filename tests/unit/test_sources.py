"""What no source file may do, whoever writes it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import xnas

SOURCE = Path(xnas.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

PICKLERS = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "shelve",
    "marshal",
    "joblib",
    "yaml",
    "code",
    "codeop",
}
"""Modules whose files or texts run as code."""

CALLS = {
    "eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "builtins.compile",
    "builtins.__import__",
    "torch.load", "torch.save", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter", "numpy.load",
    "numpy.save", "numpy.savez", "pandas.read_pickle", "os.system", "os.popen", "subprocess.getoutput",
    "subprocess.getstatusoutput", "runpy.run_path", "runpy.run_module", "importlib.import_module",
    "importlib.__import__",
}  # fmt: skip

ALLOWED = {
    ("cli/__init__.py", "importlib.import_module"): "by a command of the closed list",
    ("__init__.py", "importlib.import_module"): "by the table of public names",
    ("io/registry.py", "importlib.import_module"): "by the tables of methods, spaces and data sets",
}


def faults(source: str) -> Iterator[str]:
    """What a source file imports or calls that none may."""
    tree = ast.parse(source)
    full_names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                full_names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
                if alias.name.partition(".")[0] in PICKLERS:
                    yield alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full_names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            if node.module.partition(".")[0] in PICKLERS:
                yield node.module
    for node in ast.walk(tree):
        # Not only what is called: a function can be called under another name.
        if isinstance(node, ast.Name | ast.Attribute) and (name := full_name(node, full_names)) in CALLS:
            yield name
        if isinstance(node, ast.keyword) and node.arg in ("shell", "allow_pickle"):
            yield f"{node.arg}="


def full_name(node: ast.expr, full_names: dict[str, str]) -> str:
    """The dotted name that an expression stands for, or nothing."""
    if isinstance(node, ast.Name):
        return full_names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (inner := full_name(node.value, full_names)):
        return f"{inner}.{node.attr}"
    return ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_source_file_neither_unpickles_nor_evaluates_and_is_not_too_long(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    place = str(path.relative_to(SOURCE))
    assert [fault for fault in faults(text) if (place, fault) not in ALLOWED] == []
    assert len(text.splitlines()) <= 600


@pytest.mark.parametrize(("place", "name"), ALLOWED)
def test_each_exception_is_needed(place: str, name: str) -> None:
    assert name in list(faults((SOURCE / place).read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import dill as d",
        "from marshal import loads",
        "import joblib.externals",
        "def f():\n    import shelve",
        "import torch\ntorch.load('x')",
        "from torch import load\nload('x')",
        "import torch as t\nf = t.save",
        "import numpy as np\nnp.load('x')",
        "f('x', allow_pickle=True)",
        "eval('1')",
        "f = exec",
        "compile('1', '', 'eval')",
        "import builtins\nbuiltins.eval('1')",
        "__import__('os')",
        "import importlib\nimportlib.import_module('x')",
        "from importlib import import_module as f\nf('x')",
        "import yaml\nyaml.load('x')",
        "import os\nos.system('x')",
        "from os import popen\npopen('x')",
        "import subprocess\nsubprocess.run('x', shell=True)",
    ],
)
def test_a_fault_is_found_under_every_name(source: str) -> None:
    assert list(faults(source))


@pytest.mark.parametrize(
    "source",
    [
        "import re\nre.compile('x')",
        "model.eval()",
        "self.load('x')",
        "text = 'eval(1)'",
        "from safetensors.torch import load, save\nload(b'')",
    ],
)
def test_what_is_harmless_is_no_fault(source: str) -> None:
    assert list(faults(source)) == []


def test_only_the_processes_of_a_run_and_those_of_models_of_ones_own_know_of_torchs_distributed_operations() -> (
    None
):
    found = {
        str(path.relative_to(SOURCE))
        for path in FILES
        if "torch.distributed" in path.read_text(encoding="utf-8")
    }
    assert found == {
        "train/distributed.py",
        "train/heartbeat.py",
        "train/rendezvous.py",
        "optimizers/processes.py",
    }


def test_only_the_runtime_and_the_compilation_of_kernels_know_about_environment_variables() -> None:
    allowed = {
        "train/device.py",
        "train/launch.py",
        "cli/__init__.py",
        "cli/caches.py",
        "kernels/build.py",
    }
    found = {
        str(path.relative_to(SOURCE)) for path in FILES if "os.environ" in path.read_text(encoding="utf-8")
    }
    assert found <= allowed
