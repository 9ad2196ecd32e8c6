"""A trained network with what it needs to classify images, read back from a run folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xnas.config.limits import MOST_BORDER, MOST_SIDE
from xnas.config.loading import parse_config
from xnas.config.schema import Config
from xnas.data.images import Images, Normalisation
from xnas.io.json import JsonObject, parse_json
from xnas.io.text import one_form, printable, short_repr, told_apart
from xnas.runs.folder import RunFolder
from xnas.runs.signals import StopRequest
from xnas.space.architecture import Architecture, parse_architecture
from xnas.space.backbone import NetworkSpec
from xnas.space.darts.network import build_network
from xnas.space.genotype import Genotype
from xnas.train.build import network_spec
from xnas.train.distributed import process_group
from xnas.train.evaluate import (
    TestResult,
    check_channels,
    in_channels,
    probabilities,
    test_batch_size,
    test_network,
)


def check_image_shape(shape: Sequence[int], *, channels: int | None = None) -> None:
    """Raise ValueError unless `shape` is channels (so many, if given), height and width of an image."""
    if len(shape) != 3 or channels not in (None, shape[0]):
        raise ValueError(f"'image_shape' must be channels, height, width; got {short_repr(list(shape))}")
    if not 1 <= min(shape) <= max(shape) <= MOST_SIDE:
        raise ValueError(f"images have 1 to {MOST_SIDE:,} pixels a side; got {short_repr(list(shape))}")


def check_border(border: float) -> None:
    """Raise ValueError for a border that leaves nothing of an image."""
    if not 0 <= border < MOST_BORDER:
        raise ValueError(f"the border must lie in [0, {MOST_BORDER}); got {border}")


_WORDS = ("classes", "mean", "std", "image_shape", "border")


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A trained network with its classes and normalisation."""

    network: nn.Module
    """Logits (N, D) of normalised images (N, C, H, W)."""
    genotype: Architecture
    classes: tuple[str, ...]
    """D names, in the order of the logits."""
    normalisation: Normalisation
    """Normalisation of uint8 pixels, as in training."""
    image_shape: tuple[int, int, int] | None = None
    """C, H, W of the training images; None where an older run does not say. Other heights and widths are taken too."""
    border: float = 0.0
    """Share of an image's file that is cropped from every side for the test."""

    @property
    def image_channels(self) -> int:
        """C."""
        return len(self.normalisation.mean_C)

    @property
    def features_a_pixel(self) -> int:
        """Outputs of the first layer for every pixel of an image, rounded up."""
        plan = getattr(self.network, "spec", None)
        return plan.features_a_pixel if isinstance(plan, NetworkSpec) else 1

    def write(self, folder: RunFolder) -> None:
        """Write the weights into the run folder, with all that `read` needs."""
        about = {
            "genotype": self.genotype.to_json(),
            "classes": json.dumps(self.classes),
            "mean": json.dumps(self.normalisation.mean_C.tolist()),
            "std": json.dumps(self.normalisation.std_C.tolist()),
        }
        if self.image_shape is not None:
            about["image_shape"] = json.dumps(self.image_shape)
        if self.border:
            about["border"] = json.dumps(self.border)
        folder.write_weights(self.network.state_dict(), about=about)

    @classmethod
    def read(cls, folder: RunFolder, *, device: torch.device) -> "TrainedNetwork":
        """The network that a run has trained, with its weights on rank 0.

        Raises ValueError if there is none, or its file does not fit the run.
        """
        weights: dict[str, Tensor] | None = None

        def read() -> list[Any]:
            nonlocal weights
            weights, about = folder.weights()
            return [about, folder.config().to_toml()]

        where = f"the trained network in {folder.path}"
        about, config = process_group().from_main(read)
        for key in ("genotype", "classes", "mean", "std"):
            if key not in about:
                raise ValueError(
                    f"{where} does not say its {key}; train it again: xnas retrain {folder.path}"
                )
        try:
            genotype = parse_architecture(about["genotype"])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        words = JsonObject(
            {key: parse_json(about[key], where=where) for key in _WORDS if key in about}, where=where
        )
        classes, mean, std = words.exact_names("classes"), words.numbers("mean"), words.numbers("std")
        shape = words.integers("image_shape") if "image_shape" in about else ()
        border = words.number("border") if "border" in about else 0.0
        try:
            if shape:
                check_image_shape(shape, channels=len(mean))
            check_border(border)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        normalisation = Normalisation(mean_C=torch.tensor(mean), std_C=torch.tensor(std))
        settings = parse_config(config, where=where).retrain
        plan = network_spec(settings, image_channels=len(mean), num_classes=len(classes))
        network = (
            build_network(genotype, plan)  # on another rank than 0, which sends its weights for a test
            if weights is None
            else build_with_weights(genotype, plan, weights, where=where)
        )
        return cls(
            network=network.to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
            genotype=genotype,
            classes=classes,
            normalisation=normalisation,
            image_shape=(shape[0], shape[1], shape[2]) if shape else None,
            border=border,
        )

    @torch.no_grad()
    def predict(self, images_NCHW: Tensor, *, batch_size: int | None = None) -> Tensor:
        """The probability of every class for every image: float32 (N, D), rows that sum to 1, on the CPU.

        A row is of NaN where the network's own output is not finite. Images are uint8 of any height and width, as in an
        ImageSet; they go to the network's device in batches, by
        default of 250, or fewer images of more than 64 x 64 pixels.
        Raises ValueError for another type or shape, or another number of channels.
        """
        if not isinstance(images_NCHW, Tensor):
            raise ValueError(
                f"images must be a tensor; got {type(images_NCHW).__name__}; torch.from_numpy makes one of an array"
            )
        shape = tuple(images_NCHW.shape)
        if images_NCHW.dtype != torch.uint8 or len(shape) != 4 or 0 in shape[2:]:
            raise ValueError(
                f"images must be uint8 of shape (N, C, H, W); got {images_NCHW.dtype} of shape {shape}"
            )
        check_channels(shape[1], self.image_channels)
        if not len(images_NCHW):
            return torch.zeros(0, len(self.classes))
        self.network.eval()
        weight = next(self.network.parameters())
        normalise = self.normalisation.to(weight.device)

        def logits(part: Tensor) -> Tensor:
            images = normalise(part.to(weight.device)).to(
                weight.dtype
            )  # a network of 16 bits takes no others
            found: Tensor = self.network(images.contiguous(memory_format=torch.channels_last))
            return found

        batch_size = test_batch_size(*shape[2:]) if batch_size is None else batch_size
        parts = [probabilities(logits(part)) for part in torch.split(images_NCHW, batch_size)]
        return torch.cat(parts).cpu()

    def test(
        self,
        images: Images,
        *,
        device: torch.device,
        stop_request: StopRequest | None = None,
        config: Config | None = None,
    ) -> TestResult:
        """Test on images. Raises ValueError if their classes or channels are not those of the training.

        With `config` all ranks take part; raises RankLost if one is lost.
        """
        if tuple(map(one_form, images.classes)) != tuple(map(one_form, self.classes)):
            own, others = (
                ", ".join(printable(name) if name in rest else told_apart(name) for name in names)
                for names, rest in ((self.classes, images.classes), (images.classes, self.classes))
            )
            raise ValueError(
                f"the network tells apart {own}, but the images have the classes {others}; test it on images of the "
                "same classes"
            )
        images = in_channels(images, self.image_channels)
        group = process_group()
        together = config is not None and group.size > 1
        try:
            if config is not None and together:
                group.all_gather_object(None)  # loading images may take one rank longer than the timeout
                group.init_process_group(config.distributed, device)
                # Norms have the statistics of each rank's own images: those of rank 0 are what is kept.
                self.network.load_state_dict(group.broadcast_tensors(self.network.state_dict()))
            return test_network(
                self.network,
                images,
                normalisation=self.normalisation,
                device=device,
                stop_request=stop_request or StopRequest(),
                together=together,
            )
        except Exception as error:
            if (lost := group.diagnose_loss(error)) is not None:
                raise lost from error
            raise


def build_with_weights(
    genotype: Architecture, plan: NetworkSpec, weights: Mapping[str, Tensor], *, where: str
) -> nn.Module:
    """Build the network with these weights, on the CPU, in evaluation mode. Raises ValueError if they do not fit.

    Weights of 16 bits become float32, of the same values. `where` names their file in errors.
    """
    network = check_weights(genotype, plan, weights, where=where)
    # Only now does it take memory: as much as the weights that were read, whatever the settings say.
    network.to_empty(device="cpu").load_state_dict(weights)
    return network.eval()


def check_weights(
    genotype: Architecture, plan: NetworkSpec, weights: Mapping[str, Tensor], *, where: str
) -> nn.Module:
    """Return the network of these weights on the meta device. Raises ValueError as `build_with_weights` does."""
    if isinstance(genotype, Genotype):
        # Counted before anything is built: every cell of DARTS has tensors of its own, and damaged settings may
        # ask for many more cells than the file has.
        cells = len({name.split(".")[1] for name in weights if name.startswith("cells.")})
        if cells != plan.cells:
            raise ValueError(
                f"{where} does not fit its settings: it has tensors of {cells:,} cells, but must have {plan.cells:,}"
            )
    try:
        with torch.device("meta"):
            network = build_network(genotype, plan)
    except ValueError as error:
        raise ValueError(f"{where} does not fit its settings: {error}") from None
    _check_fit(network, weights, where=where)
    return network


def _check_fit(network: nn.Module, weights: Mapping[str, Tensor], *, where: str) -> None:
    """Raise ValueError unless `weights` has exactly the network's tensors, of their shapes and types, all finite.

    All float32 tensors may have been cast to one type of 16 bits.
    """
    expected = network.state_dict()
    unfit = f"{where} does not fit its settings"
    if missing := [name for name in expected if name not in weights]:
        raise ValueError(
            f"{unfit}: {short_repr(missing[0])} and {len(missing) - 1:,} other tensors are missing"
        )
    if unknown := [name for name in weights if name not in expected]:
        raise ValueError(
            f"{unfit}: it has {short_repr(unknown[0])} and {len(unknown) - 1:,} other tensors too many"
        )
    types = {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()}
    cast_to_16_bits = types in ({torch.float16}, {torch.bfloat16})
    for name, tensor in expected.items():
        for what, needed, given in (
            ("shape", tuple(tensor.shape), tuple(weights[name].shape)),
            ("type", tensor.dtype, weights[name].dtype),
        ):
            if needed != given and not (needed == torch.float32 and given in types and cast_to_16_bits):
                raise ValueError(f"{unfit}: {name} has the {what} {given}, but must have {needed}")
        if not weights[name].isfinite().all():
            raise ValueError(f"{where} is of no use: {name} has values that are not finite; train it again")
