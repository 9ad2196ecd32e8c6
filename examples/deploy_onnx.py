"""A trained network in production: onnxruntime, numpy and Pillow, and neither torch nor xnas.

Export it and ask it with:

    xnas export RUN --format onnx --to network.onnx
    python examples/deploy_onnx.py network.onnx IMAGE...

The file says by itself what it needs: size and channels of the images, the classes, and where the normalisation is.
N: images; C H W: channels, height, width; D: classes.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageOps


def read_image(path: Path, shape: tuple[int, int, int], border: float) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8 CHW, brought to the size and the channels of the test."""
    channels, height, width = shape
    with Image.open(path) as image:
        image.draft(None, (2 * width, 2 * height))  # a large JPEG without the detail that scaling would drop
        upright = to_8_bits(ImageOps.exif_transpose(image)).convert("L" if channels == 1 else "RGB")
    fitted = ImageOps.fit(upright, (width, height), method=Image.Resampling.BILINEAR, bleed=border)
    return np.asarray(fitted, dtype=np.uint8).reshape(height, width, channels).transpose(2, 0, 1)


def to_8_bits(image: Image.Image) -> Image.Image:
    """Deep grey scaled to 8 bits, and what is transparent laid on white, as in training."""
    if image.mode.startswith("I"):
        return Image.fromarray(((np.asarray(image).astype(np.int64) + 128) // 257).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    above = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)


class Classifier:
    """A network in an ONNX file of `xnas export`."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        about = self.session.get_modelmeta().custom_metadata_map
        self.classes: list[str] = json.loads(about["classes"])
        channels, height, width = json.loads(about["image_shape"])
        self.image_shape = (channels, height, width)
        self.border: float = json.loads(about["border"])
        self.takes_pixels = about["normalisation"] == "inside"
        self.mean_C11 = np.array(json.loads(about["mean"]), dtype=np.float32)[:, None, None]
        self.std_C11 = np.array(json.loads(about["std"]), dtype=np.float32)[:, None, None]

    def __call__(self, pixels_NCHW: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The probability of every class for every image, (N, D)."""
        images = pixels_NCHW
        if not self.takes_pixels:
            images = (pixels_NCHW.astype(np.float32) / 255 - self.mean_C11) / self.std_C11
        (logits_ND,) = self.session.run(None, {"images": images})
        odds_ND = np.exp(logits_ND - logits_ND.max(axis=1, keepdims=True))
        return odds_ND / odds_ND.sum(axis=1, keepdims=True)


def main(model: str, *images: str) -> None:
    """Print the most probable class of each image."""
    classify = Classifier(Path(model))
    for image in images:
        pixels_CHW = read_image(Path(image), classify.image_shape, classify.border)
        (row_D,) = classify(pixels_CHW[None])
        best = int(row_D.argmax())
        print(f"{image}: {classify.classes[best]} {row_D[best]:.1%}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python deploy_onnx.py network.onnx IMAGE...")
    main(*sys.argv[1:])
