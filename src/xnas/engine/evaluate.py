"""Testing a trained network, and bringing one back from its run folder."""

import json
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from xnas.data.batches import batches
from xnas.data.images import Images, Normalisation
from xnas.engine.descent import Tally
from xnas.engine.interrupt import Interrupt
from xnas.engine.plans import network_plan
from xnas.engine.run_folder import RunFolder
from xnas.space.genotype import Genotype
from xnas.space.network import Network

BATCH_SIZE = 250
"""Images tested at once: memory, not the result, depends on it."""


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """What a network reached on a test set."""

    accuracy: float
    """Share of samples classified correctly, in [0, 1]."""
    loss: float
    """Mean cross-entropy, in nats."""
    samples: int


@torch.no_grad()
def test_network(
    network: nn.Module,
    images: Images,
    *,
    normalisation: Normalisation,
    device: torch.device,
    interrupt: Interrupt,
) -> TestResult:
    """Test a network on images that are neither shuffled nor augmented. Raises Interrupted after a signal."""
    network.eval()
    tally = Tally(len(images.classes), device)
    for batch in batches(images, batch_size=BATCH_SIZE, normalisation=normalisation, device=device):
        logits_BD = network(batch.images_BCHW)
        tally.add(F.cross_entropy(logits_BD, batch.labels_B, reduction="none"), logits_BD, batch.labels_B)
        interrupt.check()
    return TestResult(accuracy=tally.accuracy, loss=tally.loss, samples=len(images))


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A trained network, and what it must be fed with."""

    network: nn.Module
    genotype: Genotype
    classes: tuple[str, ...]
    normalisation: Normalisation

    def write(self, folder: RunFolder) -> None:
        """Keep the weights in the run folder, with all that is needed to bring the network back."""
        folder.write_weights(
            self.network.state_dict(),
            about={
                "genotype": self.genotype.to_json(),
                "classes": json.dumps(self.classes),
                "mean": json.dumps(self.normalisation.mean_C.tolist()),
                "std": json.dumps(self.normalisation.std_C.tolist()),
            },
        )

    @classmethod
    def read(cls, folder: RunFolder, *, device: torch.device) -> "TrainedNetwork":
        """The network that a run has trained. Raises ValueError if there is none, or its file does not fit the run."""
        weights, about = folder.weights()
        try:
            genotype = Genotype.from_json(about["genotype"])
            classes = tuple(json.loads(about["classes"]))
            mean_C, std_C = (torch.tensor(json.loads(about[key])) for key in ("mean", "std"))
            plan = network_plan(folder.config().retrain, image_channels=len(mean_C), num_classes=len(classes))
            network = Network(genotype, plan)
            network.load_state_dict(weights)
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"the trained network in {folder.path} does not fit its settings: {error}"
            ) from error
        return cls(
            network=network.to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
            genotype=genotype,
            classes=classes,
            normalisation=Normalisation(mean_C=mean_C, std_C=std_C),
        )

    def test(self, images: Images, *, device: torch.device, interrupt: Interrupt | None = None) -> TestResult:
        """Test on images. Raises ValueError if their classes or channels are not those of the training."""
        if images.classes != self.classes:
            raise ValueError(
                f"the network tells apart {', '.join(self.classes)}, but the images have the classes "
                f"{', '.join(images.classes)}; test it on images of the same classes"
            )
        if images.image_shape[0] != len(self.normalisation.mean_C):
            raise ValueError(
                f"the network takes images of {len(self.normalisation.mean_C)} channel(s), "
                f"but these have {images.image_shape[0]}"
            )
        return test_network(
            self.network,
            images,
            normalisation=self.normalisation,
            device=device,
            interrupt=interrupt or Interrupt(),
        )
