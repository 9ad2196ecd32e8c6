"""A process of a search that goes on from a file of another number of processes, and stops after some rounds."""

import json
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from tests.distributed.alike import joined, started_trainer, told
from xnas.train.distributed import process_group, shutdown


def main(before: str, after: str, stop: str) -> None:
    joined()
    trainer = started_trainer(seed=1)
    if before != "nothing":
        trainer.load_state_dict(
            load_file(before), step=json.loads(Path(before).with_suffix(".json").read_text())
        )
    for batches in trainer.remaining_batches():
        trainer.training_step(*batches)
        if trainer.step == int(stop):
            break
    trainer.reduce_meters()
    if process_group().is_main:
        save_file({name: value.contiguous() for name, value in trainer.state_dict().items()}, after)
        Path(after).with_suffix(".json").write_text(json.dumps(trainer.step))
    Path(f"{after}.{process_group().rank}").write_text(json.dumps(told(trainer)))
    shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
