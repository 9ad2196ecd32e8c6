"""Controls: architectures that no search has chosen, retrained with exactly the settings of the one that was found."""

from xnas.config.schema import Config
from xnas.engine.plans import build_space
from xnas.space.architecture import Architecture
from xnas.space.published import published_genotype

PUBLISHED = "xnas"


def control_genotypes(config: Config, *, count: int) -> dict[str, Architecture]:
    """`count` random genotypes of the search's space, and in that of DARTS the published XNAS cell, by name.

    A random genotype's name holds the seed that draws it again: random-SEED. Runs of other seeds draw others.
    """
    if count < 1:
        return {}
    published = {PUBLISHED: published_genotype(PUBLISHED)} if config.space.kind == "darts" else {}
    return {**published, **random_genotypes(config, count=count)}


def random_genotypes(config: Config, *, count: int) -> dict[str, Architecture]:
    """The random ones alone, by name."""
    space = build_space(config.space)
    seeds = range(100 * config.seed + 1, 100 * config.seed + count + 1)
    return {f"random-{seed}": space.random_genotype(seed) for seed in seeds}
