"""A network as an ONNX file: any batch, height and width; classes and normalisation in its metadata."""

import json
from dataclasses import dataclass
from importlib import metadata

import torch
from torch import nn

from xnas.io.text import visible
from xnas.report.export.about import BESIDE, FORMAT, INSIDE, VERSION, About
from xnas.report.export.module import export_program
from xnas.report.export.sums import BLANK, IN_ONNX, sealed

INPUT, OUTPUT = "images", "logits"
AXES = {0: "batch", 2: "height", 3: "width"}


LEAST_OPSET = 18
"""Below it torch has no operators of its own, and converts what it can."""
LEAST_IR = 8
"""Of the first release with that opset."""


@dataclass(frozen=True, kw_only=True)
class OnnxVersions:
    """Which versions of ONNX a file is written in; None: those that torch chooses. Raises ValueError for others."""

    opset: int | None = None
    """Of the operators."""
    ir: int | None = None
    """Of the format of the file."""

    def __post_init__(self) -> None:
        check_packages()
        import onnx

        for name, given, least, most in (
            ("opset", self.opset, LEAST_OPSET, onnx.defs.onnx_opset_version()),
            ("IR version", self.ir, LEAST_IR, onnx.IR_VERSION),
        ):
            if given is not None and not least <= given <= most:
                raise ValueError(f"the {name} of ONNX must be {least} to {most}; got {given}")


def onnx_bytes(
    module: nn.Module, about: About, *, normalise: bool, versions: OnnxVersions | None = None
) -> bytes:
    """The file. Raises ValueError if the packages for it are missing, or they cannot write such versions."""
    check_packages()
    versions = versions or OnnxVersions()
    program = export_program(module, about, normalise=normalise, any_size=True)
    exported = torch.onnx.export(
        program,
        (),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=(AXES,),
        external_data=False,
        verbose=False,
        opset_version=versions.opset,
    )
    assert exported is not None
    proto = exported.model_proto
    found = {entry.domain: entry.version for entry in proto.opset_import}
    if versions.opset is not None and found.get("") != versions.opset:
        raise ValueError(
            f"torch writes opset {found.get('')} instead of {versions.opset}; choose another opset"
        )
    if versions.ir is not None:
        proto.ir_version = versions.ir
    # The exporter notes on every node which line of which file it came from, with the names of one's own folders.
    graph = proto.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
        del part.metadata_props[:]
        part.doc_string = ""
    for key, value in metadata_of(about, normalise=normalise).items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    return sealed(proto.SerializeToString(deterministic=True), IN_ONNX)


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
        "data": visible(about.data),
        "genotype": about.genotype.to_json(),
    }
    if about.result:
        words["test_accuracy"] = f"{about.result.test_accuracy:.6f}"
    return words | {"sha256": BLANK}


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
