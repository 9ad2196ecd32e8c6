"""Every form gives the network's outputs, whatever the batch and the size; what does not is not written."""

import dataclasses
import hashlib
import json
import os
import random
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx
import pytest
import torch
from safetensors.torch import load_file

from xnas import TrainedNetwork, load
from xnas.config.loading import parse_config
from xnas.config.schema import IN_MEMORY
from xnas.export import export as export_module
from xnas.export.export import (
    ROUNDINGS,
    SUFFIXES,
    TOLERANCE,
    Form,
    about_network,
    check_place,
    compare,
    export,
)
from xnas.export.module import module_to_export
from xnas.export.onnx import OnnxNetwork, OnnxVersions
from xnas.export.sums import IN_ONNX, sealed
from xnas.io.atomic import alone_in
from xnas.io.errors import CannotWrite
from xnas.space.genotype import CellGenotype, Edge, Genotype

from ...helpers.exported_networks import (
    CASES,
    RESULT,
    SHORT,
    Case,
    about_of,
    logits,
    onnx_content,
    pixels,
    trained_network,
)


@dataclasses.dataclass(frozen=True)
class Exported:
    case: Case
    trained: TrainedNetwork
    onnx: Path
    program: Path
    network: OnnxNetwork
    """What is in `onnx`."""
    module: torch.nn.Module
    """What is in `program`."""


HALVING = Genotype(
    normal=CellGenotype(
        edges=(
            Edge("sep_conv_3x3", 0),
            Edge("skip_connect", 1),
            Edge("dil_conv_5x5", 0),
            Edge("max_pool_3x3", 2),
        ),
        concat=(2, 3),
    ),
    reduction=CellGenotype(
        edges=(
            Edge("skip_connect", 0),
            Edge("avg_pool_3x3", 1),
            Edge("skip_connect", 1),
            Edge("sep_conv_5x5", 0),
        ),
        concat=(2, 3),
    ),
)
"""It adds what skip connections have halved to what pooling and convolutions have."""


def deep(case: Case, *, size: int) -> Case:
    """With a cell after a reduction, and a second reduction."""
    plan = dataclasses.replace(case.plan, cells=3, reductions=2)
    return Case(SHORT if case.genotype == SHORT else HALVING, plan, size)


DEEP = {name: deep(case, size=size) for (name, case), size in zip(CASES.items(), (12, 13, 40), strict=True)}


@pytest.fixture(scope="module", params=DEEP)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    case = DEEP[request.param]
    trained, folder = trained_network(case), tmp_path_factory.mktemp("exported")
    paths: dict[Form, Path] = {"onnx": folder / "network.onnx", "torch-export": folder / "network.pt2"}
    for form, path in paths.items():
        found = export(trained, about_of(trained), pixels(case, 8), form=form, path=path, name="network")
        assert found.images == 8
        assert found.any_size
        assert found.difference < 1e-4
    network, module = OnnxNetwork.read(paths["onnx"]), torch.export.load(paths["torch-export"]).module()
    return Exported(case, trained, *paths.values(), network, module)


SIZES = [(1, 0, 0), (7, 0, 0), (1, 5, 0), (7, 0, 12), (2, 30, 21), (3, 1, 1), (1, 2, 3)]
"""Images of a batch, and by how much they are higher and wider than those of the training."""


@pytest.mark.parametrize(("count", "higher", "wider"), SIZES)
def test_an_onnx_file_gives_the_networks_outputs(
    count: int, higher: int, wider: int, exported: Exported
) -> None:
    images = pixels(
        exported.case, count, height=exported.case.size + higher, width=exported.case.size + wider
    )
    assert float((exported.network.logits(images) - logits(exported.trained, images)).abs().max()) < 1e-4
    assert torch.allclose(exported.network.predict(images), exported.trained.predict(images), atol=1e-4)


@pytest.mark.parametrize(("count", "higher", "wider"), SIZES)
def test_a_torch_program_gives_the_networks_outputs(
    count: int, higher: int, wider: int, exported: Exported
) -> None:
    images = pixels(
        exported.case, count, height=exported.case.size + higher, width=exported.case.size + wider
    )
    assert float((exported.module(images) - logits(exported.trained, images)).abs().max()) < 1e-4


def test_an_onnx_file_says_its_classes_its_normalisation_and_its_axes(exported: Exported) -> None:
    model = onnx.load(exported.onnx)
    onnx.checker.check_model(model)
    words = {entry.key: entry.value for entry in model.metadata_props}
    trained = exported.trained
    assert json.loads(words["classes"]) == list(trained.classes)
    assert json.loads(words["mean"]) == trained.normalisation.mean_C.tolist()
    assert json.loads(words["image_shape"]) == list(trained.image_shape or ())
    assert (words["normalisation"], words["data"], words["test_accuracy"]) == (
        "inside",
        "of things",
        "0.875000",
    )
    (images,), (outputs,) = model.graph.input, model.graph.output
    axes = [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim]
    assert axes == ["batch", exported.case.plan.image_channels, "height", "width"]
    assert (images.name, outputs.name) == ("images", "logits")


def test_an_onnx_file_tells_nothing_of_the_folders_that_it_was_made_in(exported: Exported) -> None:
    content = exported.onnx.read_bytes()
    assert str(Path(export_module.__file__).parent).encode() not in content
    assert b".py" not in content


def test_a_torch_program_carries_the_description(exported: Exported) -> None:
    with zipfile.ZipFile(exported.program) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("xnas.json"))
        fields = json.loads(archive.read(name))
    assert fields["classes"] == list(exported.trained.classes)
    assert fields["normalisation"]["place"] == "inside"


FIRST = next(iter(CASES.values()))


def test_beside_the_model_the_normalisation_is_only_told(tmp_path: Path) -> None:
    case = CASES["grey, NAS-Bench-201"]
    trained, images, path = trained_network(case), pixels(case, 3), tmp_path / "beside.pt2"
    export(trained, about_of(trained), images, form="torch-export", path=path, name="n", normalise=False)
    (tmp_path / "beside.onnx").write_bytes(onnx_content("grey, NAS-Bench-201", normalise=False))
    network = OnnxNetwork.read(tmp_path / "beside.onnx")
    assert network.normalisation is not None
    normalised = trained.normalisation(images)
    (outputs,) = network.session.run(None, {"images": normalised.numpy()})
    assert float((torch.from_numpy(outputs) - logits(trained, images)).abs().max()) < 1e-4
    assert torch.allclose(network.predict(images), trained.predict(images), atol=1e-4)
    program = torch.export.load(path).module()
    assert float((program(normalised) - logits(trained, images)).abs().max()) < 1e-4


def test_a_program_of_images_smaller_than_the_network_divides_them_takes_that_size_alone(
    tmp_path: Path,
) -> None:
    case = dataclasses.replace(CASES["RGB, ImageNet"], size=14)
    trained = trained_network(case)
    found = export(
        trained, about_of(trained), pixels(case, 2), form="torch-export", path=tmp_path / "n.pt2", name="n"
    )
    assert not found.any_size
    program = torch.export.load(tmp_path / "n.pt2").module()
    assert torch.allclose(program(pixels(case, 5)), logits(trained, pixels(case, 5)), atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_a_folder_brings_the_network_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    trained = trained_network(case)
    found = export(
        trained, about_of(trained), pixels(case, 4), form="safetensors", path=tmp_path / "n", name="n"
    )
    assert found.difference == 0
    again = load(tmp_path / "n")
    assert again.genotype == trained.genotype
    assert again.classes == trained.classes
    assert again.image_shape == trained.image_shape
    assert not again.network.training
    ours, theirs = trained.network.state_dict(), again.network.state_dict()
    assert ours.keys() == theirs.keys() == load_file(tmp_path / "n" / "model.safetensors").keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert torch.equal(again.predict(pixels(case, 5)), trained.predict(pixels(case, 5)))
    assert {path.name for path in tmp_path.iterdir()} == {"n"}
    assert {path.name for path in (tmp_path / "n").iterdir()} == {"config.json", "model.safetensors"}


def test_the_same_network_gives_the_same_folder(tmp_path: Path) -> None:
    trained = trained_network(FIRST)
    for name in ("a", "b"):
        export(
            trained, about_of(trained), pixels(FIRST, 2), form="safetensors", path=tmp_path / name, name="n"
        )
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("form", ["onnx", "torch-export"])
def test_an_exporter_that_fails_says_so_in_one_line_and_leaves_nothing(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*words: object, **named: object) -> None:
        raise AssertionError("Constraints violated (height)!\n  - Not all values\n    are valid")

    monkeypatch.setattr(*((torch.onnx, "export", fail) if form == "onnx" else (torch.export, "export", fail)))
    path = tmp_path / f"n{SUFFIXES[form]}"
    with pytest.raises(
        ValueError, match=r"Constraints violated \(height\)! - Not all values are valid; nothing"
    ) as said:
        export(
            trained_network(FIRST),
            about_of(trained_network(FIRST)),
            pixels(FIRST, 2),
            form=form,
            path=path,
            name="n",
        )
    assert "\n" not in str(said.value)
    assert list(tmp_path.iterdir()) == []


def test_a_lack_of_memory_in_an_exporter_stays_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for error in (
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 byte"),
    ):

        def fail(*words: object, error: Exception = error, **named: object) -> None:
            raise error

        monkeypatch.setattr(torch.export, "export", fail)
        with pytest.raises(type(error)):
            export(
                trained_network(FIRST), about_of(trained_network(FIRST)), pixels(FIRST, 2), form="torch-export",
                path=tmp_path / "n.pt2", name="n",
            )  # fmt: skip


def test_outputs_that_differ_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = trained_network(FIRST)
    wrong = trained_network(FIRST)
    with torch.no_grad():
        wrong.network.classifier.bias.add_(0.01)  # type: ignore[union-attr, operator]
    monkeypatch.setattr(export_module, "_read_by_xnas", lambda folder: wrong.network)
    with pytest.raises(
        ValueError, match=r"differ by 1\.00e-02 from the network's, more than 0\.0001; nothing"
    ):
        export(
            trained, about_of(trained), pixels(FIRST, 2), form="safetensors", path=tmp_path / "n", name="n"
        )
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_are_no_numbers_are_no_outputs() -> None:
    trained = trained_network(FIRST)
    reference = module_to_export(trained.network, about_of(trained), normalise=True)
    for few in (2, 1):  # of all batches, and of that of one image alone
        with pytest.raises(ValueError, match="differ by nan"):
            compare(
                reference,
                lambda images, few=few: reference(images) * (torch.nan if len(images) <= few else 1),
                pixels(FIRST, 2),
                least=1,
                form="onnx",
            )


def test_images_of_other_channels_are_refused_in_one_line(tmp_path: Path) -> None:
    trained = trained_network(FIRST)
    grey = pixels(FIRST, 2)[:, :1]
    with pytest.raises(ValueError, match="takes images of C = 3, but those to compare on have C = 1"):
        export(trained, about_of(trained), grey, form="safetensors", path=tmp_path / "n", name="n")
    assert list(tmp_path.iterdir()) == []


def test_the_network_that_is_exported_stays_as_it_is(tmp_path: Path) -> None:
    trained = trained_network(FIRST)
    trained.network.train()
    write(tmp_path / "n", trained=trained)
    assert trained.network.training


def test_images_that_were_held_out_are_not_told_as_test_images() -> None:
    trained = trained_network(FIRST)
    for share, told in ((0.0, True), (0.1, False)):
        config = parse_config(f"[data]\nheld_out = {share}", where="the tests")
        about = about_network(trained, config, RESULT, image_shape=(3, 12, 12))
        assert (about.result is not None) == told


@pytest.mark.parametrize(
    ("source", "name"),
    [("cifar10", "cifar10"), ("a/pets", "pets"), (".", Path.cwd().name), (IN_MEMORY, "images in memory")],
)
def test_the_data_have_a_name_wherever_they_are(source: str, name: str) -> None:
    config = parse_config(f"[data]\nsource = '{source}'", where="the tests")
    about = about_network(trained_network(FIRST), config, None, image_shape=(3, 12, 12))
    assert about.data == name


class Coarse(torch.nn.Module):
    """In float32 it rounds off more than 1e-4."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(1000 / 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images * self.scale).flatten(1).sum(1, keepdim=True)


def test_a_network_that_amplifies_rounding_is_measured_by_its_own() -> None:
    images, coarse = pixels(FIRST, 4), Coarse()
    found = compare(coarse, lambda images: Coarse().double()(images), images, least=1, form="onnx")
    assert found.rounding is not None
    assert TOLERANCE < found.difference <= ROUNDINGS * found.rounding
    coarse = Coarse()
    with pytest.raises(ValueError, match=r"onnx gives logits that differ by 1\.00e\+04 from the network's"):
        compare(coarse, lambda images: coarse(images) + 10_000, images, least=1, form="onnx")


def write(path: Path, *, overwrite: bool = False, trained: TrainedNetwork | None = None) -> None:
    trained = trained or trained_network(FIRST)
    export(
        trained,
        about_of(trained),
        pixels(FIRST, 2),
        form="safetensors",
        path=path,
        name="n",
        overwrite=overwrite,
    )


def test_what_is_there_is_replaced_only_if_that_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "n")
    (tmp_path / "n" / "model.safetensors").write_text("mine")
    with pytest.raises(ValueError, match="is there already; choose another place, or replace it with --over"):
        write(tmp_path / "n")
    assert (tmp_path / "n" / "model.safetensors").read_text() == "mine"
    write(tmp_path / "n", overwrite=True)
    assert load(tmp_path / "n").genotype == FIRST.genotype
    assert {path.name for path in tmp_path.iterdir()} == {"n"}


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="not only, what an export of this form has written"):
        write(tmp_path / "n", overwrite=True)
    assert (tmp_path / "n" / "thesis.tex").read_text() == "years of work"


def test_a_model_of_somebody_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    for name in ("config.json", "model.safetensors", "README.md"):
        (tmp_path / "n" / name).write_text("{}")
    (tmp_path / "n.onnx").write_bytes(b"\x08\x07another network")
    for name, form in (("n", "hub"), ("n.onnx", "onnx")):
        with pytest.raises(ValueError, match="is not, or not only, what an export of this form has written"):
            check_place(tmp_path / name, form, overwrite=True)  # type: ignore[arg-type]


def test_a_file_that_an_export_has_written_is_replaced(exported: Exported) -> None:
    check_place(exported.onnx, "onnx", overwrite=True)
    check_place(exported.program, "torch-export", overwrite=True)


def test_an_export_that_cannot_take_its_place_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "n")
    before = {path.name: path.read_bytes() for path in (tmp_path / "n").iterdir()}
    rename = os.rename

    def refuse(old: Path, new: Path) -> None:
        if Path(old).suffix == ".part":
            raise OSError(28, "No space left on device")
        rename(old, new)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(CannotWrite, match="No space left on device"):
        write(tmp_path / "n", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "n").iterdir()} == before


@pytest.mark.parametrize(
    ("form", "name", "said"),
    [
        ("onnx", "file", r"onnx is a file that ends in \.onnx; got --to"),
        ("torch-export", "file.onnx", r"torch-export is a file that ends in \.pt2"),
        ("onnx", "folder.onnx", "is not, or not only, what an export"),
        ("safetensors", "file", "is not, or not only, what an export"),
        ("safetensors", "link", "is a link, so it is not overwritten"),
        ("safetensors", "..", "names no place of its own"),
    ],
)
def test_a_place_that_does_not_suit_is_named(form: Form, name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=said):
        check_place(tmp_path / name, form, overwrite=True)


def test_an_onnx_file_of_others_or_a_damaged_one_is_refused_in_one_line(
    exported: Exported, tmp_path: Path
) -> None:
    content = exported.onnx.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        ValueError, match=r"cut\.onnx is not as xnas export writes files, or has changed since"
    ):
        OnnxNetwork.read(tmp_path / "cut.onnx")
    with pytest.raises(ValueError, match=r"cut\.onnx cannot be read as ONNX: .*; export the run again"):
        OnnxNetwork.read(tmp_path / "cut.onnx", unchecked=True)
    for key, value, said in (
        ("mean", "[0.5, 0.5, 0.5, 0.5]", "do not fit together"),
        ("classes", '["a", "b"]', "are not one for each of its 2 classes"),
    ):
        model = onnx.load(exported.onnx)
        (entry,) = (entry for entry in model.metadata_props if entry.key == key)
        entry.value = value
        with pytest.raises(ValueError, match=said):
            OnnxNetwork.of(sealed(model.SerializeToString(), IN_ONNX), where="it")
    del model.metadata_props[:]
    with pytest.raises(ValueError, match="does not say its classes: xnas export did not write it"):
        OnnxNetwork.of(model.SerializeToString(), where="it", unchecked=True)


def test_exports_to_one_place_at_once_take_turns_and_each_is_whole(tmp_path: Path) -> None:
    write(tmp_path / "n")
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, tmp_path / "n", overwrite=True) for _ in range(8)]:
            done.result()
        refused = [pool.submit(write, tmp_path / "new") for _ in range(4)]
        errors = [done.exception() for done in refused]
    assert load(tmp_path / "n").genotype == load(tmp_path / "new").genotype == FIRST.genotype
    assert errors.count(None) == 1
    assert all("is there already" in str(error) for error in errors if error is not None)
    assert {path.name for path in tmp_path.iterdir()} == {"n", "new"}


def test_one_at_a_time_writes_into_a_folder(tmp_path: Path) -> None:
    inside: list[int] = []

    def enter() -> int:
        with alone_in(tmp_path / "made"):
            inside.append(1)
            most = len(inside)
            time.sleep(0)  # gives way to the others
            inside.pop()
            return most

    with ThreadPoolExecutor(8) as pool:
        assert {done.result() for done in [pool.submit(enter) for _ in range(80)]} == {1}
    with (
        alone_in(tmp_path),
        pytest.raises(ValueError, match="another export has been writing to"),
        alone_in(tmp_path, seconds=0),
    ):
        pass


def test_an_onnx_file_is_written_in_the_versions_that_are_asked_for(tmp_path: Path) -> None:
    case = dataclasses.replace(CASES["grey, NAS-Bench-201"], size=8)
    trained, path = trained_network(case), tmp_path / "n.onnx"
    versions = OnnxVersions(opset=18, ir=9)
    export(trained, about_of(trained), pixels(case, 2), form="onnx", path=path, name="n", versions=versions)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert ([entry.version for entry in model.opset_import], model.ir_version) == ([18], 9)
    assert OnnxNetwork.read(path).classes == trained.classes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"opset": 17}, "the opset of ONNX must be 18 to"),
        ({"opset": 999}, r"must be 18 to \d+; got 999"),
        ({"ir": 3}, "the IR version of ONNX must be 8 to"),
    ],
)
def test_versions_that_nobody_can_write_are_refused(words: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        OnnxVersions(**words)


def test_a_program_has_its_sum_beside_it_as_sha256sum_reads_it(exported: Exported) -> None:
    sums = exported.program.with_name("network.pt2.sha256").read_text()
    assert sums == f"{hashlib.sha256(exported.program.read_bytes()).hexdigest()}  network.pt2\n"


def test_a_file_of_somebody_else_in_the_place_of_a_sum_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "n.pt2.sha256").write_text("mine")
    for overwrite, said in ((False, "is there already"), (True, "is not, or not only, what an export")):
        with pytest.raises(ValueError, match=rf"n\.pt2\.sha256 {said}"):
            check_place(tmp_path / "n.pt2", "torch-export", overwrite=overwrite)


def test_a_bit_that_changes_in_an_onnx_file_is_noticed_and_a_change_on_purpose_can_be_taken(
    exported: Exported, tmp_path: Path
) -> None:
    content = exported.onnx.read_bytes()
    chance = random.Random(exported.onnx.name)
    for place in (0, len(content) - 1, *(chance.randrange(len(content)) for _ in range(40))):
        spoiled = bytearray(content)
        spoiled[place] ^= 1 << chance.randrange(8)
        (tmp_path / "n.onnx").write_bytes(spoiled)
        with pytest.raises(
            ValueError, match=r"n\.onnx is not as xnas export writes files, or has changed since"
        ):
            OnnxNetwork.read(tmp_path / "n.onnx")
    model = onnx.load_from_string(content)
    model.producer_name = "a quantisation"
    assert OnnxNetwork.of(model.SerializeToString(), where="it", unchecked=True).classes
