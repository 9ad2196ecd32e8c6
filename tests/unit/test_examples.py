"""The examples run as they stand."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from xnas.data.files import decode
from xnas.data.files.decode import DecodeSpec

from ..helpers.exported_networks import CASES, onnx_content, pixels, trained_network

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("blank_pictures")
def test_a_classifier_is_fitted_and_tells_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accuracy = example("image_classifier").main(count=600, folder=str(tmp_path / "mine"))
    assert f"accuracy on 500 images that it has not seen: {accuracy:.1%}" in capsys.readouterr().out
    assert 0.3 < accuracy < 1  # ten classes: by chance 0.1 +- 0.013
    assert (tmp_path / "mine" / "report.html").is_file()


def test_deployed_images_are_read_as_in_training(tmp_path: Path) -> None:
    read = example("deploy_onnx").read_image
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (40, 30, 4), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    images = {
        "rgba.png": rgba,
        "la.png": rgba.convert("LA"),
        "palette.png": rgba.convert("RGB").quantize(16),
        "deep.png": Image.fromarray(rng.integers(0, 65536, (40, 30), dtype=np.uint16)),
        "turned.jpg": rgba.convert("RGB"),
        "large.jpg": rgba.convert("RGB").resize((600, 400)),
    }
    for name, image in images.items():
        image.save(tmp_path / name, **({"exif": turned} if name == "turned.jpg" else {}))
        for channels in (1, 3):
            form = DecodeSpec(
                height=20, width=24, scaled=True, colour=channels == 3, border=0.05, channels=channels
            )
            ours, theirs = (
                read(tmp_path / name, form.shape, form.border),
                decode.read_image(str(tmp_path / name), form),
            )
            assert np.array_equal(ours, theirs), (name, channels)


def test_a_model_of_ones_own_is_searched_in_a_plain_loop(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = example("own_model").main(epochs=1)
    assert set(chosen) == {"kernel", "activation", "block"}
    assert chosen["kernel"] != "1x1"
    printed = capsys.readouterr().out
    assert "kernel: 1 forecasters, N = 3 experts" in printed
    assert "is out of" in printed


@pytest.mark.parametrize("normalise", [True, False], ids=["inside", "beside"])
def test_a_network_is_deployed_without_torch(normalise: bool, tmp_path: Path) -> None:
    case = CASES["grey, NAS-Bench-201"]
    trained, images = trained_network(case), pixels(case, 3)
    model = tmp_path / "network.onnx"
    model.write_bytes(onnx_content("grey, NAS-Bench-201", normalise=normalise))
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image[0].numpy()).save(path)
    code = (
        "import sys, runpy\nsys.modules['torch'] = None\n"  # whoever imports it fails
        f"sys.argv = ['deploy_onnx.py', *{[str(model), *paths]!r}]\n"
        f"runpy.run_path({str(EXAMPLES / 'deploy_onnx.py')!r}, run_name='__main__')\n"
        "assert 'xnas' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    values_N, places_N = trained.predict(images).max(dim=1)
    assert done.stdout.splitlines() == [
        f"{path}: {trained.classes[place]} {value:.1%}"
        for path, value, place in zip(paths, values_N.tolist(), places_N.tolist(), strict=True)
    ]
