"""The demonstrations by name. Nothing heavy is imported, so that the command line knows them at once."""

DEMONSTRATIONS = {
    "late-bloomers": "an expert that pays nothing at first and most in the end: who finds it, and when",
    "initialisation": "the best expert starts with a millionth of the others' weight: who still ends at it",
    "regret-vs-selection": "regret against the rate of picking the best expert, in noise",
    "weight-decay": "entropy of the mixture against the coefficient of weight decay (figure 2)",
    "wipeout": "when experts go, what that saves, and what a relaxed threshold costs",
}

MOST_SEEDS = 1000
"""More would need gigabytes, and tell nothing more."""
