"""A network as an ONNX file: any batch, height and width; classes and normalisation in its metadata."""

import json
from importlib import metadata

import torch
from torch import nn

from xnas.report.export.about import BESIDE, FORMAT, INSIDE, VERSION, About
from xnas.report.export.module import export_program

INPUT, OUTPUT = "images", "logits"
AXES = {0: "batch", 2: "height", 3: "width"}


def onnx_bytes(module: nn.Module, about: About, *, normalise: bool) -> bytes:
    """The file. Raises ValueError if the packages for it are missing."""
    check_packages()
    program = export_program(module, about, normalise=normalise, any_size=True)
    exported = torch.onnx.export(
        program,
        (),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=(AXES,),
        external_data=False,
        verbose=False,
    )
    assert exported is not None
    proto = exported.model_proto
    # The exporter notes on every node which line of which file it came from, with the names of one's own folders.
    graph = proto.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
        del part.metadata_props[:]
        part.doc_string = ""
    for key, value in metadata_of(about, normalise=normalise).items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def metadata_of(about: About, *, normalise: bool) -> dict[str, str]:
    """What the file says of itself; lists are JSON."""
    words = {
        "format": FORMAT,
        "version": str(VERSION),
        "xnas": metadata.version("xnas"),
        "classes": json.dumps(about.classes),
        "normalisation": INSIDE if normalise else BESIDE,
        "mean": json.dumps(about.mean),
        "std": json.dumps(about.std),
        "image_shape": json.dumps(about.image_shape),
        "border": json.dumps(about.border),
        "data": about.data,
        "genotype": about.genotype.to_json(),
    }
    if about.result:
        words["test_accuracy"] = f"{about.result.test_accuracy:.6f}"
    return words


def check_packages() -> None:
    """Raises ValueError, with the command that installs them, if the packages for ONNX are missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"ONNX needs the packages onnx, onnxscript and onnxruntime ({error}): pip install 'xnas[onnx]'"
        ) from error
