"""A process of a search in float64, in which no image's features depend on another's: tells what it did."""

import hashlib
import json
import sys
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor, nn

from xnas.config.schema import Config, DistributedConfig, SearchConfig, SpaceConfig
from xnas.data.images import DataSet, ImageSet
from xnas.optimizers.xnas import XNASLearner
from xnas.train.distributed import init_distributed, process_group, shutdown
from xnas.train.launch import launched
from xnas.train.search import SearchTrainer


class WithoutStatistics(SearchTrainer):
    """A search whose norms take their statistics of each image by itself."""

    def __init__(self, config: Config, data: DataSet) -> None:
        super().__init__(config, data, device=torch.device("cpu"))
        self.ids: list[list[int]] = []
        self.losses: list[float] = []
        for module in list(self.network.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, name, nn.GroupNorm(1, child.num_features, affine=False))
        self.network.double()
        self.sgd.param_groups[0]["params"] = list(self.network.parameters())

    def logits(self, images_BCHW: Tensor) -> Tensor:
        logits_BD: Tensor = self.network(images_BCHW.double())
        return logits_BD

    def training_step(self, *batches):  # type: ignore[no-untyped-def]
        train = batches[0]
        self.ids.append(train.ids_B.tolist())
        with torch.no_grad():
            losses_B = nn.functional.cross_entropy(
                self.logits(train.images_BCHW), train.labels_B, reduction="none"
            )
        self.losses.append(process_group().all_gather(losses_B).mean().item())
        return super().training_step(*batches)


def images(count: int, *, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % 2
    pixels[labels == 1, :, 2:6, 2:6] //= 3
    return ImageSet(images_NCHW=pixels, labels_N=labels, classes=("a", "b"))


def joined() -> None:
    """Meet the others, if this process was launched among some."""
    launch = launched()
    if launch is not None:
        init_distributed(launch).init_process_group(DistributedConfig(timeout=60), torch.device("cpu"))


def started_trainer(*, seed: int) -> WithoutStatistics:
    """A search of 15 steps, three an epoch, in which experts are wiped out."""
    config = Config(
        seed=seed,
        space=SpaceConfig(
            nodes=1,
            experts=("max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"),
            channels=4,
            cells=3,
        ),
        search=SearchConfig(
            epochs=5,
            batch_size=8,
            warmup_epochs=1,
            zeta=0.05,
            feedback="sample" if seed % 2 == 0 else "batch",
            reward_bound=0.5,
            learning_rate=0.05,
        ),
    )
    data = DataSet(name="noise", train=images(48, seed=seed), test=images(16, seed=seed + 1))
    return WithoutStatistics(config, data)


def told(trainer: WithoutStatistics) -> dict[str, object]:
    """What a process did, and where its experts are."""
    ledger = {}
    digest = hashlib.sha256()
    for name, learner in trainer.experts.learners.items():
        assert isinstance(learner, XNASLearner)
        assert learner.ledger is not None
        for item in fields(learner.ledger):
            value = torch.as_tensor(getattr(learner.ledger, item.name)).double()
            ledger[f"{name}.{item.name}"] = value.flatten().tolist()
            digest.update(value.numpy().tobytes())
    return {
        "ids": trainer.ids,
        "losses": trainer.losses,
        "train_loss": trainer.meters["train"].loss,
        "genotype": trainer.genotype().to_json(),
        "alive": [row for name in trainer.experts.groups for row in trainer.experts.alive(name).tolist()],
        "ledger": ledger,
        "ledger_bits": digest.hexdigest(),
    }


def main(folder: str, seed: str) -> None:
    joined()
    trainer = started_trainer(seed=int(seed))
    for batches in trainer.remaining_batches():
        trainer.training_step(*batches)
    trainer.reduce_meters()
    (Path(folder) / f"{process_group().rank}.json").write_text(json.dumps(told(trainer)))
    shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
