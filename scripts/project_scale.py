"""Projects the time of a search epoch on 1 to 64 GPUs: the tables of docs/scale.md.

    python scripts/project_scale.py

A round on W devices takes compute / W + communication. Compute is one device's time for a round, from a published
search; communication is the weights' gradients by a ring all-reduce, 2 (W - 1) / W times their bytes over the link, and
2 (W - 1) latencies for each of its buckets, and what experts need, likewise. Nothing is hidden behind the backward
pass, which DistributedDataParallel does in part: so these are upper bounds of what talking costs. A round of 96 images
is divided evenly, on 64 devices one of 192, and fewer images on a device are assumed to be as fast by the image.
"""

from dataclasses import dataclass

from xnas import DartsSpace, StackPlan, count_parameters, read_preset
from xnas.space.cost import count_layer_multiply_adds

DEVICES = (1, 2, 4, 8, 16, 32, 64)
BATCH = 96
"""Of a whole round."""
BUCKET = 25 * 2**20
"""Bytes of a bucket of DistributedDataParallel."""
PAPER_SECONDS = 7 * 3600
"""Of the whole search on one GTX 1080 Ti, section 4.1."""
CIFAR10_ROUNDS, EPOCHS = 25_000 // BATCH, 50
IMAGENET_ROUNDS = 1_281_167 // 2 // BATCH


@dataclass(frozen=True)
class Link:
    """Between neighbouring devices."""

    name: str
    bytes_per_second: float
    latency: float
    """Seconds of a message."""


LINKS = (
    Link("NVLink 4 (450 GB/s each way)", 450e9, 5e-6),
    Link("PCIe 4.0 x16 (32 GB/s)", 32e9, 10e-6),
    Link("100 Gb/s Ethernet or InfiniBand", 12.5e9, 20e-6),
    Link("10 Gb/s Ethernet", 1.25e9, 50e-6),
)


def all_reduce(size: int, *, devices: int, link: Link) -> float:
    """Seconds of a ring all-reduce of so many bytes."""
    buckets = -(-size // BUCKET)
    ring = 2 * (devices - 1)
    return ring / devices * size / link.bytes_per_second + ring * buckets * link.latency


def main() -> None:
    """Print a table for each data set."""
    config = read_preset("paper-search-cifar10").space
    space = DartsSpace(num_nodes=config.nodes, experts=config.experts)

    def cost(stem: str, classes: int, side: int) -> tuple[int, int]:
        plan = StackPlan(
            image_channels=3,
            num_classes=classes,
            channels=config.channels,
            cells=config.cells,
            reductions=2,
            stem=stem,
        )
        supernet = space.supernet(plan)
        return count_parameters(supernet), count_layer_multiply_adds(supernet, (3, side, side))

    parameters, work = cost("cifar", 10, 32)
    on_imagenet, more_work = cost("imagenet", 1000, 224)
    round_seconds = PAPER_SECONDS / EPOCHS / CIFAR10_ROUNDS
    replicas, edges, experts = 6 + 2, 14, len(config.experts)
    rewards = BATCH * replicas * edges * experts * 4
    sets = (
        ("CIFAR-10", parameters, CIFAR10_ROUNDS, round_seconds),
        ("ImageNet", on_imagenet, IMAGENET_ROUNDS, round_seconds * more_work / work),
    )
    for name, weights, whole_rounds, seconds in sets:
        print(
            f"\n{name}: {whole_rounds:,} rounds an epoch, {seconds:.2f} s of compute each on a GTX 1080 Ti; gradients "
            f"{4 * weights / 2**20:.1f} MiB, rewards {rewards / 2**20:.2f} MiB a round\n"
        )
        print("| link | " + " | ".join(f"{w} GPU{'s' if w > 1 else ''}" for w in DEVICES) + " |")
        print("|---|" + "---:|" * len(DEVICES))
        for link in LINKS:
            times = []
            for w in DEVICES:
                talk = (
                    all_reduce(4 * weights, devices=w, link=link) + all_reduce(rewards, devices=w, link=link)
                    if w > 1
                    else 0.0
                )
                share = seconds / w
                if BATCH % w:  # then batches of twice the size, half as many
                    share, rounds = 2 * share, whole_rounds / 2
                else:
                    rounds = whole_rounds
                times.append(f"{rounds * (share + talk):,.0f} s ({100 * talk / (share + talk):.1f} %)")
            print(f"| {link.name} | " + " | ".join(times) + " |")


if __name__ == "__main__":
    main()
