"""Networks of published and found cells as models of timm, registered when this module is imported.

    import timm, xnas.timm_models

    timm.create_model("xnas_small_cifar10", num_classes=100)
    timm.create_model("darts_v2_cifar10", features_only=True)
    timm.create_model("local-dir:FOLDER", pretrained=True)  # what `xnas export` has written

No weights of the named models are published, so `pretrained=True` works for folders, and for a file that
`pretrained_cfg_overlay=dict(file=...)` names.
B: samples; C H W: channels, height, width; F: features; D: classes.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

try:
    from timm.layers.classifier import create_classifier
    from timm.models import (
        PretrainedCfg,
        build_model_with_cfg,
        generate_default_cfgs,
        register_model,
    )
except ImportError as error:
    raise ImportError("xnas.timm_models needs timm: pip install 'xnas[timm]'") from error

from xnas.export.load import ABOUT, MOST_ABOUT, check_plan, read_fields
from xnas.export.metadata import TIMM_NAME, first_conv, parse_plan
from xnas.io.json import JsonObject, parse_json_object
from xnas.io.safe_read import read_regular_text
from xnas.space.activation_checkpointing import checkpointed
from xnas.space.architecture import Architecture, parse_architecture
from xnas.space.backbone import NetworkSpec
from xnas.space.darts.network import Network, build_network
from xnas.space.nasbench201.stack import ResidualReduction
from xnas.space.published import published_genotype, published_names

_CIFAR = NetworkSpec(image_channels=3, num_classes=10, channels=36, cells=20)
_IMAGENET = NetworkSpec(image_channels=3, num_classes=1000, channels=48, cells=14, stem="imagenet")

_STATISTICS = {
    "cifar": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Means and standard deviations of the training images of CIFAR-10 and ImageNet, as everybody rounds them."""

NETWORKS: Mapping[str, tuple[str, NetworkSpec]] = {
    "xnas_small_cifar10": ("xnas", _CIFAR),
    "xnas_medium_cifar10": ("xnas", replace(_CIFAR, channels=44)),
    "xnas_large_cifar10": ("xnas", replace(_CIFAR, channels=50)),
    "xnas_mobile_imagenet": (
        "xnas",
        replace(_IMAGENET, channels=46, stem_channels=56, squeeze_excite=True),
    ),
    "darts_v2_imagenet": ("darts_v2", _IMAGENET),
    "pc_darts_imagenet": ("pc_darts_imagenet", _IMAGENET),
    "pdarts_imagenet": ("pdarts", _IMAGENET),
} | {
    f"{name.removesuffix('10').removesuffix('_cifar')}_cifar10": (name, _CIFAR)
    for name in published_names()
    if name not in ("xnas", "pc_darts_imagenet")
}
"""Each name's published cell and the shape of its network; the plain `_cifar10` ones have 20 cells of 36 channels."""


class TimmNetwork(nn.Module):
    """A network of cells with the methods that timm's models have. Its weights have the names of xnas's own."""

    stem: nn.Module
    cells: nn.ModuleList
    excitations: nn.ModuleList
    layers: nn.ModuleList
    last: nn.Module
    global_pool: nn.Module
    classifier: nn.Module

    def __init__(
        self,
        genotype: Architecture,
        plan: NetworkSpec,
        *,
        num_classes: int | None = None,
        in_chans: int | None = None,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes = plan.num_classes if num_classes is None else num_classes
        self.in_chans = plan.image_channels if in_chans is None else in_chans
        self.drop_rate, self.grad_checkpointing = drop_rate, False
        plan = replace(plan, image_channels=self.in_chans, num_classes=max(2, self.num_classes))
        network = build_network(genotype, plan)
        for name, child in network.named_children():
            self.add_module(name, child)
        self.num_features = self.head_hidden_size = int(network.classifier.in_features)  # type: ignore[union-attr, arg-type]
        self.of_darts = isinstance(network, Network)
        self.blocks = "cells" if self.of_darts else "layers"
        places = _places(network, plan)
        self.stem_outputs = next(i for i, place in enumerate(places) if place["module"] != "stem")
        # Of every resolution, the last output.
        last = {place["reduction"]: i for i, place in enumerate(places)}
        self.taps = list(last.values())
        self.feature_info = [places[i] for i in self.taps]
        self.reset_classifier(self.num_classes, global_pool)

    def outputs(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the output of the stem, then of every cell, in their order: (B, F, H, W) each."""
        twice = self.grad_checkpointing and self.training and torch.is_grad_enabled()
        if self.of_darts:
            before_last, last = self.stem(images)
            if self.stem_outputs == 2:
                yield before_last
            yield last
            for cell, excitation in zip(self.cells, self.excitations, strict=True):
                run = partial(_excited, cell, excitation)
                now = checkpointed(cell, run, before_last, last) if twice else run(before_last, last)
                before_last, last = last, now
                yield last
        else:
            last = self.stem(images)
            yield last
            for layer in self.layers:
                last = checkpointed(layer, layer, last) if twice else layer(last)
                yield last
            yield self.last(last)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the features that are averaged for the classifier: (B, F, H, W)."""
        features = x
        for features in self.outputs(x):  # noqa: B007
            pass
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, D) of such features; their average alone with `pre_logits` or without classes."""
        pooled = F.dropout(self.global_pool(x), self.drop_rate, self.training)
        head: Tensor = pooled if pre_logits else self.classifier(pooled)
        return head

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, D) of normalised images (B, C, H, W)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The features of the resolutions `indices`; before them the last ones, unless only they are wanted."""
        assert output_fmt == "NCHW", "features are NCHW"
        del norm  # they have none of their own
        taken = _taken(len(self.taps), indices)
        most = max(taken)
        wanted = [self.taps[i] for i in taken]
        features, found = x, {}
        for number, features in enumerate(self.outputs(x)):
            if number in wanted:
                found[number] = features
            if (stop_early or intermediates_only) and number == self.taps[most]:
                break
        intermediates = [found[number] for number in wanted]
        return intermediates if intermediates_only else (features, intermediates)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the cells behind the last of these resolutions, and the classifier; returns the indices from 0 on."""
        del prune_norm
        taken = _taken(len(self.taps), indices)
        most = max(taken)
        blocks: nn.ModuleList = getattr(self, self.blocks)
        kept = max(0, self.taps[most] + 1 - self.stem_outputs)
        self.taps, self.feature_info = self.taps[: most + 1], self.feature_info[: most + 1]
        if kept < len(blocks):
            setattr(self, self.blocks, blocks[:kept])
            if self.of_darts:
                self.excitations = self.excitations[:kept]
            else:
                self.last = nn.Identity()
        if prune_head:
            self.reset_classifier(0, "")
        return taken

    def get_classifier(self) -> nn.Module:
        """Return the linear layer at the end; an identity without classes."""
        return self.get_submodule("classifier")

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new classifier, none for 0 classes; another pooling before it, none for ""."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool_type = global_pool
        self.global_pool, classifier = create_classifier(
            self.num_features, num_classes, pool_type=self.global_pool_type
        )
        weight = next(self.parameters())
        self.classifier = classifier.to(weight.device, weight.dtype)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Have the backward pass compute every cell again instead of keeping what is inside it."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return patterns of the weights of each depth, for learning rates that differ by depth."""
        del coarse
        return {"stem": r"^stem", "blocks": rf"^(?:{self.blocks}|excitations)\.(\d+)"}


def _excited(cell: nn.Module, excitation: nn.Module, before_last: Tensor, last: Tensor) -> Tensor:
    features: Tensor = excitation(cell(before_last, last))
    return features


def _taken(count: int, indices: int | Sequence[int] | None) -> list[int]:
    """Return indices below `count`, from 0: the last so many, or these, negative ones from the end."""
    if indices is None or isinstance(indices, int):
        indices = range(-(indices or count), 0)
    if not indices or not all(-count <= i < count for i in indices):
        raise ValueError(f"there are features of {count} resolutions, 0 to {count - 1}; got {list(indices)}")
    return [i % count for i in indices]


def _darts_places(network: Network) -> list[dict[str, Any]]:
    """Channels, reduction and module of everything that `outputs` gives."""
    plan = network.spec
    reductions = {"cifar": [1], "strided": [2], "imagenet": [4, 8]}[plan.stem]
    channels = int(network.stem.out_channels[0])
    places: list[dict[str, Any]] = [
        {"num_chs": channels, "reduction": reduction, "module": "stem"} for reduction in reductions
    ]
    for index, cell in enumerate(network.cells):
        reduction = places[-1]["reduction"] * (2 if index in plan.reduction_cells else 1)
        places.append(
            {"num_chs": int(cell.out_channels), "reduction": reduction, "module": f"cells.{index}"}  # type: ignore[arg-type]
        )
    return places


def _nasbench201_places(plan: NetworkSpec, network: nn.Module) -> list[dict[str, Any]]:
    channels = plan.stem_channels or plan.channels
    reduction = 2 if plan.stem == "strided" else 1
    places: list[dict[str, Any]] = [{"num_chs": channels, "reduction": reduction, "module": "stem"}]
    for index, layer in enumerate(network.layers):  # type: ignore[arg-type]
        if isinstance(layer, ResidualReduction):
            channels, reduction = 2 * channels, 2 * reduction
        places.append({"num_chs": channels, "reduction": reduction, "module": f"layers.{index}"})
    return [*places, {"num_chs": channels, "reduction": reduction, "module": "last"}]


def _places(network: nn.Module, plan: NetworkSpec) -> list[dict[str, Any]]:
    return _darts_places(network) if isinstance(network, Network) else _nasbench201_places(plan, network)


def _build(
    name: str, genotype: Architecture, plan: NetworkSpec, *, pretrained: bool, **kwargs: Any
) -> nn.Module:
    resolutions = plan.reductions + (2 if plan.stem == "imagenet" else 1)
    model: nn.Module = build_model_with_cfg(
        TimmNetwork,
        name,
        pretrained,
        feature_cfg={"out_indices": tuple(range(resolutions)), "feature_cls": "getter"},
        genotype=genotype,
        plan=plan,
        **kwargs,
    )
    return model


def _settings(genotype: Architecture, plan: NetworkSpec) -> dict[str, Any]:
    """Return timm's settings of an untrained network."""
    size = 224 if plan.stem == "imagenet" else 32
    mean, std = _STATISTICS[plan.stem]
    return {
        "input_size": (plan.image_channels, size, size),
        "mean": mean,
        "std": std,
        "interpolation": "bilinear",
        "crop_pct": 0.875 if plan.stem == "imagenet" else 1.0,
        "num_classes": plan.num_classes,
        "first_conv": first_conv(genotype, plan),
        "classifier": "classifier",
    }


_UNTRAINED: dict[str, dict[str, Any] | PretrainedCfg] = {
    f"{name}.untrained": _settings(published_genotype(cell), plan) for name, (cell, plan) in NETWORKS.items()
}
_UNTRAINED[f"{TIMM_NAME}.untrained"] = _settings(published_genotype("xnas"), _CIFAR)
default_cfgs = generate_default_cfgs(_UNTRAINED)


def _check_folder(settings: object) -> None:
    """Compares the sums of the folder that timm is about to read, if `xnas export` has written it."""
    words = settings if isinstance(settings, Mapping) else getattr(settings, "__dict__", {})
    if words.get("source") != "local-dir":
        return
    folder = Path(words["file"])
    text = read_regular_text(folder / ABOUT, what="file", most=MOST_ABOUT)
    # Also where one bit of what it is known by has changed; what timm has saved knows nothing of the three.
    if {"format", "xnas", "sha256"} & parse_json_object(text, where=str(folder / ABOUT)).values.keys():
        read_fields(folder)


def xnas_network(
    pretrained: bool = False,
    *,
    genotype: Architecture | Mapping[str, Any] | None = None,
    plan: NetworkSpec | Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> nn.Module:
    """The network of any genotype and plan, as values or as config.json has them; by default `xnas_small_cifar10`.

    Raises ValueError for what is no genotype or plan, and for an exported folder with a file that has changed since.
    """
    _check_folder(kwargs.get("pretrained_cfg"))
    if isinstance(genotype, Mapping):
        genotype = parse_architecture(json.dumps(dict(genotype)))
    if isinstance(plan, Mapping):
        plan = parse_plan(JsonObject(plan, where="plan"))
    genotype, plan = genotype or published_genotype("xnas"), plan or _CIFAR
    check_plan(plan)
    kwargs.setdefault("num_classes", plan.num_classes)
    kwargs.setdefault("in_chans", plan.image_channels)
    return _build(TIMM_NAME, genotype, plan, pretrained=pretrained, **kwargs)


def _entry_point(name: str, cell: str, plan: NetworkSpec) -> Callable[..., nn.Module]:
    def build(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _build(name, published_genotype(cell), plan, pretrained=pretrained, **kwargs)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = (
        f"The network of the published cell {cell}: {plan.cells} cells of {plan.channels} channels."
    )
    return build


register_model(xnas_network)
for _name, (_cell, _plan) in NETWORKS.items():
    register_model(_entry_point(_name, _cell, _plan))
__all__ = ["NETWORKS", "TimmNetwork", "xnas_network"]
"""Of the others, which timm has listed here by itself, it alone knows the functions."""
