"""The images that settings name."""

from collections.abc import Callable

from xnas.config.schema import GIVEN, DataConfig
from xnas.data.hold_out import hold_out
from xnas.data.images import DataSet
from xnas.data.load import load_data
from xnas.engine.team import team


def open_images(config: DataConfig, *, seed: int, say: Callable[[str], object]) -> DataSet:
    """The training and test images, or held-out ones in the place of these. Raises ValueError if they cannot be had."""
    if config.source == GIVEN:
        raise ValueError(
            "the images of this run were given to ImageClassifier.fit and are not kept; say where images are, with "
            "--data FOLDER, or to export with --images FOLDER"
        )
    seed = seed if config.split_seed is None else config.split_seed
    data = load_data(
        config.source,
        root=config.root,
        image_size=config.image_size,
        test_fraction=config.test_fraction,
        seed=seed,
        download=config.download,
        workers=config.workers,
        sharers=team().sharers,
        max_broken=config.max_broken,
        decode_memory=config.decode_memory,
        fold=config.fold,
        resized_crops=config.crop == "resized",
        say=say,
    )
    return hold_out(data, share=config.held_out, seed=seed) if config.held_out > 0 else data
