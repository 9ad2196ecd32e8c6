"""Runs the benchmarks, all or those that are named; prints what they find, and writes it as JSON and a table.

It takes minutes; nothing else should run beside it.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.options import Options

BENCHMARKS = {
    "search_round": "A search round with all experts, plain against ours.",
    "survivors": "A search round against the multiply-adds still alive.",
    "nasbench201_cell": "A search round of NAS-Bench-201 cells, plain against ours.",
    "retrain_step": "A training step of a published network, plain against ours.",
    "activation_checkpointing": "Gradient checkpointing: the time that it takes, and the memory that it saves.",
    "data_share": "How long a search waits for its images.",
    "depthwise": "Our depthwise convolution against torch's.",
    "checkpoint": "What saving costs.",
    "communication": "What the processes of one search tell each other in a round.",
    "machine": "Copy bandwidth and matrix rate of this machine.",
    "bound": "The least time of a search round, and the share of it that is reached.",
    "accelerator": "Operations that a search round launches on an accelerator, plain against ours.",
    "gpu": "The search round on a CUDA device, where there is one.",
}
"""All benchmarks, in the order in which they run."""
RESULTS = Path(__file__).parent / "results"


def parse(arguments: list[str]) -> argparse.Namespace:
    """What the command line asks for; mistakes and questions end here, before anything heavy is loaded."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"  {name:<18}{about}" for name, about in BENCHMARKS.items()),
    )  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME", help="by default all of the list below")
    parser.add_argument("--n", type=int, help="repetitions, by default as many as each takes by itself")
    parser.add_argument("--threads", type=int, help="CPU threads, by default torch's choice")
    parser.add_argument("--out", type=Path, help="folder of the results, by default benchmarks/results")
    parser.add_argument(
        "--small", action="store_true", help="smallest sizes: shows that all runs, and nothing else"
    )
    parser.add_argument("--bfloat16", action="store_true", help="gpu: passes under autocast to bfloat16")
    parser.add_argument("--compile", action="store_true", help="gpu: our supernet through torch.compile")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in BENCHMARKS]:
        parser.error(f"unknown benchmark {unknown[0]!r}; known: {', '.join(BENCHMARKS)}")
    if given.threads is not None and given.threads < 1:
        parser.error(f"--threads must be at least 1; got {given.threads}")
    try:
        given.options = Options(n=given.n, small=given.small, bfloat16=given.bfloat16, compile=given.compile)
    except ValueError as error:
        parser.error(str(error))
    return given


def main(arguments: list[str]) -> int:
    """Run what is asked for, one after the other; a result is written as soon as it is there."""
    given = parse(arguments)
    from benchmarks.results import read_results
    from benchmarks.suite import run

    out = given.out
    if out is None and not given.small:
        out = RESULTS  # small sizes overwrite nothing
    try:
        if out is not None:
            read_results(out)  # what cannot be put into the table is found before minutes are spent
        for name in given.names or BENCHMARKS:
            run(
                name,
                BENCHMARKS[name],
                given.options,
                threads=given.threads,
                out=out,
                command=" ".join(["python -m benchmarks", *arguments]),
            )
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
