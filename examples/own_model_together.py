"""The search of own_model.py by several processes, each with its part of every batch.

Run it with: torchrun --nproc-per-node 2 --standalone examples/own_model_together.py (a minute on two CPU cores).
Gradients of the network weights are averaged by torch's DistributedDataParallel, rewards by XNAS: all processes make
the same choice. `batch_size` is that of all processes together.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from xnas import XNAS, Forecaster, load_data


def conv(kernel_size: int) -> nn.Module:
    """A convolution whose norm lets kernels of different sizes compete on equal terms."""
    return nn.Sequential(
        nn.Conv2d(16, 16, kernel_size, padding="same", bias=False), nn.BatchNorm2d(16, affine=False)
    )


class Net(nn.Module):
    """A small convolutional network with two open choices, each named for its place in it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, stride=2, padding=1)
        self.kernel = Forecaster({"1x1": conv(1), "3x3": conv(3), "5x5": conv(5)})
        self.block = Forecaster({"plain": conv(3), "skip": nn.Identity()})
        self.classifier = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 10) of images (B, 1, H, W)."""
        features = F.relu(self.kernel(F.relu(self.stem(images))))
        return self.classifier(F.max_pool2d(self.block(features), 2).mean(dim=(2, 3)))


def search(*, rounds: int = 100, batch_size: int = 100) -> dict[str, str]:
    """What one of the processes does; returns the chosen expert of each group."""
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)  # the same halves and order everywhere
    images = load_data("fashion-mnist-small").train
    pixels, labels = images.images_NCHW.float() / 255 - 0.5, images.labels_N
    train, validation = torch.randperm(len(images)).chunk(2)

    # Experts that have left take no more part in a pass.
    model = DistributedDataParallel(Net(), find_unused_parameters=True)
    weights = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    experts = XNAS(model, rounds=rounds, batch_size=batch_size, weight_optimizer=weights)

    for number in range(rounds):
        start = number * batch_size % (len(train) - batch_size + 1)
        ours, theirs = (ids[start : start + batch_size][rank::world] for ids in (train, validation))
        weights.zero_grad()
        F.cross_entropy(model(pixels[ours]), labels[ours]).backward()
        weights.step()

        experts.measure(lambda ids=theirs: F.cross_entropy(model(pixels[ids]), labels[ids], reduction="none"))
        for wiped in experts.step():
            if rank == 0:
                print(f"round {number + 1}: {wiped.expert} is out of {wiped.group}")
    chosen = {group: experts.best(group)[0] for group in experts.groups}
    if rank == 0:
        print(f"leaders after {rounds} rounds: {chosen}")
    return chosen


if __name__ == "__main__":
    dist.init_process_group("gloo")
    search()
    dist.destroy_process_group()
