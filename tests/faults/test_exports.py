"""Exports of strangers, and those that a disk or a transfer has changed: refused in one line, or asked and answered."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from xnas import load
from xnas.cli import main
from xnas.config.loading import preset_names, read_preset
from xnas.export.export import Form, export
from xnas.export.onnx import OnnxNetwork, metadata_of
from xnas.export.sums import IN_ONNX, sealed
from xnas.hub import HubNetwork
from xnas.space.backbone import NetworkSpec
from xnas.space.published import published_genotype, published_names
from xnas.train.build import network_spec

from ..helpers.exported_networks import (
    CASES,
    SHORT,
    Case,
    about_of,
    pixels,
    reseal,
    trained_network,
    write_exported,
)
from ..helpers.resource_limits import watched

BITS = {False: 60, True: 1000}
CASE = CASES["RGB, DARTS"]
CLASSES = 3
ABOUT = about_of(trained_network(CASE))
ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def constant(name: str, values: Any) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def value(name: str, kind: int, shape: Sequence[Any]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


IMAGES = value("images", TensorProto.UINT8, ["batch", 3, "height", "width"])
LOGITS = value("logits", TensorProto.FLOAT, ["batch", CLASSES])
MEAN = [
    helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
    helper.make_node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
]
"""(N, 3) in `means`."""


def model(
    *last: Any,
    inputs: Iterable[Any] = (IMAGES,),
    outputs: Iterable[Any] = (LOGITS,),
    nodes: Iterable[Any] = MEAN,
    constants: Iterable[TensorProto] = (),
    words: dict[str, str | None] | None = None,
    seal: bool = True,
    opset: int = 20,
    ir: int = 10,
) -> bytes:
    """A file that says what xnas export has files say, of a graph as small as it can be."""
    graph = helper.make_graph(
        [*nodes, *last],
        "graph",
        list(inputs),
        list(outputs),
        [constant("axes", np.array([2, 3])), *constants],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    for key, said in {**metadata_of(ABOUT, normalise=True), **(words or {})}.items():
        if said is not None:
            entry = proto.metadata_props.add()
            entry.key, entry.value = key, said
    content: bytes = proto.SerializeToString(deterministic=True)
    return sealed(content, IN_ONNX) if seal else content


def node(kind: str, *inputs: str, to: str = "logits", **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [to], **attributes)


def output(kind: int, shape: Sequence[Any] = ("batch", CLASSES), name: str = "logits") -> tuple[Any]:
    return (value(name, kind, shape),)


def elsewhere() -> TensorProto:
    tensor = TensorProto(name="bias", data_type=TensorProto.FLOAT, dims=[CLASSES])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return tensor


PLAIN = node("Identity", "means")

TAKEN = {
    "as exported": model(PLAIN),
    "logits of 16 bits": model(
        helper.make_node("Cast", ["means"], ["logits"], to=TensorProto.FLOAT16),
        outputs=output(TensorProto.FLOAT16),
    ),
    "logits of 64 bits": model(
        helper.make_node("Cast", ["means"], ["logits"], to=TensorProto.DOUBLE), outputs=output(TensorProto.DOUBLE)
    ),
    "a batch that is fixed": model(
        PLAIN,
        inputs=(value("images", TensorProto.UINT8, [2, 3, "height", "width"]),),
        outputs=output(TensorProto.FLOAT, (2, CLASSES)),
    ),
    "a tensor called by an escape sequence": model(
        node("Identity", "means", to=ESCAPE), node("Identity", ESCAPE)
    ),
}  # fmt: skip

REFUSED: dict[str, bytes] = {
    "int64 logits": model(
        helper.make_node("Cast", ["means"], ["logits"], to=TensorProto.INT64), outputs=output(TensorProto.INT64)
    ),
    "bool logits": model(
        helper.make_node("Cast", ["means"], ["logits"], to=TensorProto.BOOL), outputs=output(TensorProto.BOOL)
    ),
    "string logits": model(
        helper.make_node("Cast", ["means"], ["logits"], to=TensorProto.STRING), outputs=output(TensorProto.STRING)
    ),
    "one row, said to be a batch": model(
        node("ReduceMean", "means", "first", keepdims=1), constants=[constant("first", np.array([0]))]
    ),
    "one row, fixed": model(
        node("ReduceMean", "means", "first", keepdims=1),
        constants=[constant("first", np.array([0]))],
        outputs=output(TensorProto.FLOAT, (1, CLASSES)),
    ),
    "a batch beyond all bounds, fixed": model(
        PLAIN,
        inputs=(value("images", TensorProto.UINT8, [2**40, 3, "height", "width"]),),
        outputs=output(TensorProto.FLOAT, (2**40, CLASSES)),
    ),
    "a row too many": model(
        node("Concat", "means", "row", axis=0), constants=[constant("row", np.zeros((1, CLASSES), np.float32))]
    ),
    "a column too many": model(
        node("Concat", "means", "means", axis=1), outputs=output(TensorProto.FLOAT, ("batch", 6))
    ),
    "columns that are not said": model(
        node("Concat", "means", "means", axis=1), outputs=output(TensorProto.FLOAT, ("batch", "many"))
    ),
    "one dimension": model(
        node("ReduceMean", "means", "first", keepdims=0),
        constants=[constant("first", np.array([1]))],
        outputs=output(TensorProto.FLOAT, ("batch",)),
    ),
    "no dimension": model(node("ReduceMean", "means", keepdims=0), outputs=output(TensorProto.FLOAT, ())),
    "three dimensions": model(
        node("Unsqueeze", "means", "first"),
        constants=[constant("first", np.array([2]))],
        outputs=output(TensorProto.FLOAT, ("batch", CLASSES, 1)),
    ),
    "no output": model(PLAIN, outputs=()),
    "two outputs": model(PLAIN, outputs=(LOGITS, value("means", TensorProto.FLOAT, ["batch", CLASSES]))),
    "a sequence": model(
        node("SequenceConstruct", "means"),
        outputs=(helper.make_tensor_sequence_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES]),),
    ),
    "a constant of 16 bits": model(
        node("Identity", "bias"), constants=[constant("bias", np.zeros((1, CLASSES), np.float16))],
        outputs=output(TensorProto.FLOAT16),
    ),
    "logits that are no number": model(
        node("Mul", "means", "bias"), constants=[constant("bias", np.full(CLASSES, np.nan, np.float32))]
    ),
    "logits that are infinite": model(
        node("Mul", "means", "bias"), constants=[constant("bias", np.full(CLASSES, np.inf, np.float32))]
    ),
    "one logit that is minus infinite, and one that is infinite": model(
        node("Add", "means", "bias"), constants=[constant("bias", np.array([0, np.inf, -np.inf], np.float32))]
    ),
    "logits of which one is minus infinite": model(
        node("Add", "means", "bias"),
        constants=[constant("bias", np.array([0, 0, -np.inf], np.float32))],
    ),
    "an output called by an escape sequence": model(
        helper.make_node("Cast", ["means"], [ESCAPE], to=TensorProto.INT32),
        outputs=output(TensorProto.INT32, name=ESCAPE),
    ),
    "an input called by an escape sequence": model(
        PLAIN,
        nodes=[helper.make_node("Cast", [ESCAPE], ["floats"], to=TensorProto.FLOAT), MEAN[1]],
        inputs=(value(ESCAPE, TensorProto.UINT8, ["batch", 3, "height", "width"]),),
    ),
    "an operator that nobody has": model(node(f"Nobody{ESCAPE}", "means")),
    "an operator of somebody's own": model(node("Own", "means", domain=f"evil{ESCAPE}")),
    "a graph that does not run": model(
        node("MatMul", "means", f"b{ESCAPE}"), constants=[constant(f"b{ESCAPE}", np.zeros((4, CLASSES), np.float32))]
    ),
    "a graph that fails when it runs": model(
        node("Reshape", "means", "shape", name=f"n{ESCAPE}"), constants=[constant("shape", np.array([7, CLASSES]))]
    ),
    "a tensor that is nowhere": model(node("Add", "means", f"gone{ESCAPE}")),
    "a graph that goes round": model(node("Add", "means", "logits")),
    "weights in another file": model(node("Add", "means", "bias"), constants=[elsewhere()]),
    "floats for images": model(PLAIN, inputs=(value("images", TensorProto.FLOAT, ["b", 3, "h", "w"]),)),
    "two inputs": model(PLAIN, inputs=(IMAGES, value("more", TensorProto.FLOAT, ["batch"]))),
    "images of one channel": model(PLAIN, inputs=(value("images", TensorProto.UINT8, ["b", 1, "h", "w"]),)),
    "images without channels": model(PLAIN, inputs=(value("images", TensorProto.UINT8, ["b", "h", "w"]),)),
    "images of another size alone": model(PLAIN, inputs=(value("images", TensorProto.UINT8, ["b", 3, 5, 5]),)),
    "operators of the future": model(PLAIN, opset=99),
    "a format of the future": model(PLAIN, ir=99),
    "another format": model(PLAIN, words={"format": f"other{ESCAPE}"}),
    "no classes": model(PLAIN, words={"classes": None}),
    "classes that are twice the same": model(PLAIN, words={"classes": '["a", "a", "b"]'}),
    "classes that are no list": model(PLAIN, words={"classes": f'"{ESCAPE}"'}),
    "a size that is none": model(PLAIN, words={"image_shape": "[3, 0, 8]"}),
    "a size that is negative": model(PLAIN, words={"image_shape": "[3, -8, 8]"}),
    "a size beyond all memory": model(PLAIN, words={"image_shape": "[3, 30000, 30000]"}),
    "a size beyond all numbers": model(PLAIN, words={"image_shape": f"[3, 8, {10**30}]"}),
    "a deviation of zero": model(PLAIN, words={"std": "[0, 0, 0]"}),
    "a mean that is no number": model(PLAIN, words={"mean": "[NaN, 0, 0]"}),
    "a border with nothing inside": model(PLAIN, words={"border": "0.5"}),
    "a file twice": 2 * model(PLAIN),
    "no sum": model(PLAIN, seal=False),
    "the sum of another": model(PLAIN).replace(b"pictures", b"pictureS").replace(b"of things", b"of thingS"),
    "half a file": model(PLAIN)[:200],
    "nothing": b"",
    "text": b"hello\x1b[2J\n" * 10,
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(200),
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        pixels_HWC = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels_HWC).save(folder / f"{number}.png")
    return folder


def asked(model: Path, photos: Path, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capfd.readouterr()
    code = main(["predict", str(model), str(photos), *words])
    said = capfd.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("name", TAKEN)
def test_what_an_onnx_file_may_have_is_taken(
    name: str, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "n.onnx").write_bytes(TAKEN[name])
    code, out, err = asked(tmp_path / "n.onnx", photos, capfd, "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)["images"]
    assert [len(row["predictions"]) for row in rows] == [3, 3, 3]


@pytest.mark.parametrize("name", REFUSED)
def test_an_onnx_file_of_a_stranger_is_refused_in_one_line(
    name: str, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "n.onnx"
    path.write_bytes(REFUSED[name])
    for words in ((), ("--json",), ("--unchecked",)):
        if words == ("--unchecked",) and name in ("no sum", "the sum of another", "a file twice"):
            continue  # what is asked for
        code, out, err = asked(path, photos, capfd, *words)
        assert code == 2
        lines = err.splitlines()
        assert all(line.startswith("xnas: ") for line in lines)
        by_image = name.startswith(("logits", "one logit"))
        assert len(lines) == (3 if by_image else 1)
        assert "\x1b" not in out + err
        if "--json" in words and by_image:
            rows = json.loads(out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))["images"]
            assert all("not finite" in row["error"] for row in rows)
        else:
            assert out == ""


def test_an_onnx_file_that_was_changed_on_purpose_is_taken_if_that_is_asked_for(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "n.onnx").write_bytes(model(PLAIN, seal=False))
    code, _, err = asked(tmp_path / "n.onnx", photos, capfd)
    assert code == 2
    assert "taken by xnas predict --unchecked" in err
    assert asked(tmp_path / "n.onnx", photos, capfd, "--unchecked")[0] == 0


def flipped(content: bytes, chance: Random) -> bytes:
    spoiled = bytearray(content)
    spoiled[chance.randrange(len(spoiled))] ^= 1 << chance.randrange(8)
    return bytes(spoiled)


def read_by_timm(folder: Path) -> object:
    try:
        return timm.create_model(f"local-dir:{folder}", pretrained=True)
    except Exception as error:  # of timm's own kinds, where it reads the description itself
        raise ValueError(" ".join(str(error).split())) from error


def test_no_bit_of_an_export_changes_unnoticed(
    tmp_path: Path, long_faults: bool, record_property: Callable[[str, object], None]
) -> None:
    folder = write_exported(tmp_path / "exported", CASE)
    if long_faults:
        path = tmp_path / "real.onnx"
        trained = trained_network(CASE)
        export(trained, about_of(trained), pixels(CASE, 2), form="onnx", path=path, name="n")
    else:
        path = tmp_path / "n.onnx"
        path.write_bytes(model(PLAIN))
    readers: dict[Path, tuple[Callable[[Path], object], ...]] = {
        folder / "config.json": (load, HubNetwork.from_pretrained, read_by_timm),
        folder / "model.safetensors": (load, HubNetwork.from_pretrained, read_by_timm),
        path: (OnnxNetwork.read,),
    }
    silent, chance = [], Random(17)
    for number in range(BITS[long_faults]):
        file = chance.choice(list(readers))
        content = file.read_bytes()
        file.write_bytes(flipped(content, chance))
        read = chance.choice(readers[file])
        outcome = watched(lambda read=read, file=file: read(path if file == path else folder))  # type: ignore[misc]
        if outcome.refusal is None:
            silent.append((number, file.name))
        else:
            assert "\n" not in outcome.refusal
        file.write_bytes(content)
    assert silent == []
    record_property("figures", f"{BITS[long_faults]} bits of exports, {len(silent)} unnoticed")


@pytest.mark.parametrize(("height", "width"), [(30_000, 30_000), (4096, 4096), (1, 65_536)])
def test_a_size_that_a_file_says_takes_no_more_memory_than_an_image_that_was_trained_on(
    height: int, width: int, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trained = trained_network(CASE)
    folder = write_exported(tmp_path / "exported", CASE)
    about = about_of(trained)
    text = json.dumps([about.image_shape[0], height, width])
    for path in (folder, tmp_path / "n.onnx"):
        if path == folder:
            fields = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(fields | {"image_shape": json.loads(text)}))
            reseal(folder)
        else:
            path.write_bytes(model(PLAIN, words={"image_shape": text}))
        outcome = watched(lambda path=path: _code(path, photos), most_seconds=10)  # type: ignore[misc]
        assert outcome.refusal is None
        code, _, err = asked(path, photos, capfd)
        assert (code, err.count("\n")) == ((0, 0) if height == 1 else (2, 1))
        if height > 1:
            assert "give the size that you want with --image-size H W" in err
            assert asked(path, photos, capfd, "--image-size", "8", "8")[0] == 0


def _code(path: Path, photos: Path) -> int:
    return main(["predict", str(path), str(photos), "--json"])


FORMS: dict[Form, str] = {"onnx": ".onnx", "torch-export": ".pt2"}


def small_networks() -> dict[str, Case]:
    """Every published cell with both stems, and the network of every preset, all of few channels."""
    found = {}
    for name in published_names():
        for stem, size in (("cifar", 20), ("imagenet", 40)):
            plan = NetworkSpec(image_channels=3, num_classes=3, channels=2, cells=3, reductions=2, stem=stem)  # type: ignore[arg-type]
            found[f"{name}, {stem}"] = Case(published_genotype(name), plan, size)
    for name in preset_names():
        settings = read_preset(name)
        plan = network_spec(settings.retrain, image_channels=3, num_classes=3)
        fewer = NetworkSpec(
            image_channels=3,
            num_classes=3,
            channels=2,
            cells=plan.cells,
            reductions=plan.reductions,
            stem=plan.stem,
            squeeze_excite=plan.squeeze_excite,
        )
        genotype = SHORT if settings.space.kind == "nasbench201" else published_genotype("xnas")
        case = Case(genotype, fewer, 40 if plan.stem == "imagenet" else 20)
        if case not in found.values():  # presets differ in how they train, and in width
            found[f"preset {name}"] = case
    return found


def test_every_published_cell_and_every_preset_is_exported_with_sizes_of_its_own(
    tmp_path: Path, long_faults: bool, record_property: Callable[[str, object], None]
) -> None:
    if not long_faults:
        pytest.skip("in short the three networks of tests/unit/export/test_export.py stand for all")
    worst, count = 0.0, 0
    for name, case in small_networks().items():
        trained = trained_network(case)
        for form, suffix in FORMS.items():
            path = tmp_path / f"n{suffix}"
            found = export(
                trained, about_of(trained), pixels(case, 3), form=form, path=path, name="n", overwrite=True
            )
            assert found.any_size
            run = OnnxNetwork.read(path).logits if form == "onnx" else torch.export.load(path).module()
            for height, width in (
                (case.size + 1, case.size),
                (case.size, case.size + 3),
                (case.size + 5, case.size + 7),
            ):
                images = pixels(case, 2, height=height, width=width)
                with torch.no_grad():
                    exact = trained.network(trained.normalisation(images))
                    worst = max(worst, float((run(images) - exact).abs().max()))
            count += 1
            print(f"{name}, {form}: {found.difference:.1e}", flush=True)
    assert worst < 1e-4
    record_property("figures", f"{count} exports, the worst logit {worst:.1e} from the network's")
