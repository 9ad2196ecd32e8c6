"""A network of one's own with three open choices, decided by XNAS in a plain training loop.

Run it with: python examples/own_model.py (under a minute on two CPU cores, on the images that ship with xnas).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xnas import XNAS, Forecaster, load_data


def conv(kernel_size: int) -> nn.Module:
    """A convolution whose norm lets kernels of different sizes compete on equal terms."""
    return nn.Sequential(
        nn.Conv2d(16, 16, kernel_size, padding="same", bias=False), nn.BatchNorm2d(16, affine=False)
    )


class Net(nn.Module):
    """A small convolutional network: which kernel, which activation, a skip connection or not?"""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, stride=2, padding=1)
        self.kernel = Forecaster({"1x1": conv(1), "3x3": conv(3), "5x5": conv(5)}, group="kernel")
        self.activation = Forecaster(
            {"relu": nn.ReLU(), "tanh": nn.Tanh(), "gelu": nn.GELU()}, group="activation"
        )
        self.block = Forecaster({"plain": conv(3), "skip": nn.Identity()}, group="block")
        self.classifier = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 10) of images (B, 1, H, W)."""
        features = self.activation(self.kernel(F.relu(self.stem(images))))
        return self.classifier(F.max_pool2d(self.block(features), 2).mean(dim=(2, 3)))


def main(epochs: int = 3, batch_size: int = 100) -> dict[str, str]:
    """Search; returns the chosen expert of each group."""
    torch.manual_seed(0)
    images = load_data("fashion-mnist-small").train
    pixels, labels = images.images_NCHW.float() / 255 - 0.5, images.labels_N
    train, validation = torch.randperm(len(images)).chunk(2)

    model = Net()
    weights = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    rounds = len(train) // batch_size
    experts = XNAS(model, rounds=epochs * rounds, batch_size=batch_size, weight_optimizer=weights)
    for group in experts.settings.values():
        print(group)

    for epoch in range(1, epochs + 1):
        pairs = zip(
            train[torch.randperm(len(train))].split(batch_size),
            validation[torch.randperm(len(validation))].split(batch_size),
            strict=True,
        )
        for ours, theirs in pairs:
            weights.zero_grad()
            F.cross_entropy(model(pixels[ours]), labels[ours]).backward()
            weights.step()

            losses = experts.measure(
                lambda ids=theirs: F.cross_entropy(model(pixels[ids]), labels[ids], reduction="none")
            )
            for wiped in experts.step():
                print(f"epoch {epoch}: {wiped.expert} is out of {wiped.group}")
        chosen = {group: experts.best(group)[0] for group in experts.groups}
        print(f"epoch {epoch}: last validation loss {losses.mean():.3f}, leaders {chosen}")
    return chosen


if __name__ == "__main__":
    main()
