"""Controls: architectures that no search has chosen, retrained with exactly the settings of the one that was found."""

from xnas.engine.config import Config
from xnas.engine.plans import build_space
from xnas.space.genotype import Genotype
from xnas.space.published import published_genotype

PUBLISHED = "xnas"


def control_genotypes(config: Config, *, count: int) -> dict[str, Genotype]:
    """The published XNAS cell and `count` random genotypes of the search's space, by name.

    A random genotype's name holds the seed that draws it again: random-SEED. Runs of other seeds draw others.
    """
    if count < 1:
        return {}
    space = build_space(config.space)
    seeds = range(100 * config.seed + 1, 100 * config.seed + count + 1)
    return {
        PUBLISHED: published_genotype(PUBLISHED),
        **{f"random-{seed}": space.random_genotype(seed) for seed in seeds},
    }
