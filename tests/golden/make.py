"""Make the golden run folder: python -m tests.golden.make FOLDER."""

import json
import sys
from pathlib import Path

import torch

from xnas import RunFolder, SearchTrainer, TrainedNetwork
from xnas.runs.checkpoint import read_checkpoint
from xnas.runs.folder import Job
from xnas.train.retrain import fit_retrain
from xnas.train.search import fit_search

from .small import config, images, probe

CPU = torch.device("cpu")


def main(place: Path) -> None:
    torch.set_num_threads(1)
    folder = RunFolder.at(place)
    folder.write_job(Job(command="run"))
    folder.describe(config(), {"versions": {"torch": torch.__version__}})
    trainer = SearchTrainer(config(), images(), device=CPU)
    genotype = fit_search(trainer, folder=folder)
    fit_retrain(genotype, config(), images(), name="found", device=CPU, folder=folder)
    network = TrainedNetwork.read(folder, device=CPU).network.double().eval()
    logits = {"network": network(probe()).tolist()}
    for path in folder.checkpoints("search").found():
        logits[path.name] = supernet_logits(path)
    (place / "logits.json").write_text(json.dumps(logits, indent=1) + "\n")


def supernet_logits(checkpoint: Path) -> list[list[float]]:
    """What the supernet of a search's checkpoint makes of the probe."""
    trainer, snapshot = SearchTrainer(config(), images(), device=CPU), read_checkpoint(checkpoint)
    trainer.load_state_dict(snapshot.tensors, step=snapshot.values["step"])
    logits: list[list[float]] = trainer.network.double().eval()(probe()).tolist()
    return logits


if __name__ == "__main__":
    main(Path(sys.argv[1]))
