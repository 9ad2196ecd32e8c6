"""Networks as the Hugging Face Hub has them, from a local folder and to a hub that is none."""

import json
from pathlib import Path
from typing import Any

import huggingface_hub.hub_mixin
import pytest
import torch
from safetensors.torch import save

from xnas import load
from xnas.hub import HubNetwork

from ..helpers.exported_networks import (
    CASES,
    RESULT,
    about_of,
    logits,
    pixels,
    trained_network,
    write_exported,
)

CASE = CASES["RGB, DARTS"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_exported(tmp_path / "exported", CASE)


def test_a_network_comes_from_a_local_folder_as_it_was(folder: Path) -> None:
    network = HubNetwork.from_pretrained(folder)
    trained = trained_network(CASE)
    assert network.about == about_of(trained)
    assert not network.training
    images = pixels(CASE, 3)
    with torch.no_grad():
        outputs = network(trained.normalisation(images))
    assert torch.allclose(outputs, logits(trained, images), atol=1e-5)


def test_a_saved_network_is_the_folder_again_with_a_card(folder: Path, tmp_path: Path) -> None:
    HubNetwork.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "saved" / name).read_bytes() == (folder / name).read_bytes()
    assert (tmp_path / "saved" / "README.md").read_text().startswith("---\nlibrary_name: xnas\n")


def test_a_card_that_somebody_has_written_stays(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "README.md").write_text("by hand")
    HubNetwork.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "README.md").read_text() == "by hand"


def test_a_word_that_nothing_listens_to_is_refused(folder: Path) -> None:
    with pytest.raises(TypeError, match="takes no num_classes: the folder says what the network is"):
        HubNetwork.from_pretrained(folder, num_classes=5)


def test_a_network_is_pushed_with_its_description_and_its_card(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: dict[str, Any] = {}

    class NoHub:
        """Takes what the mixin sends, and keeps it."""

        def __init__(self, token: str | None = None) -> None:
            pushed["token"] = token

        def create_repo(self, repo_id: str, **words: Any) -> Any:
            pushed.update(words)
            return type("Repository", (), {"repo_id": repo_id})

        def upload_folder(self, *, repo_id: str, folder_path: Path, **words: Any) -> str:
            pushed.update(words, repo_id=repo_id)
            pushed["files"] = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
            return f"https://hub/{repo_id}"

    monkeypatch.setattr(huggingface_hub.hub_mixin, "HfApi", NoHub)
    network = HubNetwork.from_pretrained(folder)
    assert network.push_to_hub("somebody/cells", token="secret", private=True) == "https://hub/somebody/cells"
    assert (pushed["token"], pushed["private"], pushed["repo_type"]) == ("secret", True, "model")
    files = pushed["files"]
    assert set(files) == {"config.json", "model.safetensors", "README.md"}
    assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert json.loads(files["config.json"])["result"]["test_accuracy"] == RESULT.test_accuracy
    assert "# cells" in files["README.md"].decode()


def test_a_network_comes_from_the_hubs_cache_whose_files_are_links(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache" / "models--somebody--cells"
    snapshot = cache / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for name in ("config.json", "model.safetensors"):
        (cache / "blobs" / name).write_bytes((folder / name).read_bytes())
        (snapshot / name).symlink_to(cache / "blobs" / name)
    asked: dict[str, Any] = {}

    def fetch(repo_id: str, **words: Any) -> str:
        asked.update(words, repo_id=repo_id)
        return str(snapshot)

    monkeypatch.setattr("xnas.hub.snapshot_download", fetch)
    monkeypatch.setattr(
        huggingface_hub.hub_mixin, "hf_hub_download", lambda **words: str(snapshot / "config.json")
    )
    network = HubNetwork.from_pretrained("somebody/cells", revision="abc")
    assert network.about == about_of(trained_network(CASE))
    assert (asked["repo_id"], asked["revision"]) == ("somebody/cells", "abc")
    assert asked["allow_patterns"] == ["config.json", "model.safetensors"]  # and nothing that runs code
    for again in (
        load(snapshot),
        HubNetwork.from_pretrained(snapshot).about,
    ):  # as the hub's own command leaves it
        assert again.classes == network.about.classes
    (cache / "blobs" / "config.json").unlink()
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(folder / "config.json")
    with pytest.raises(ValueError, match="outside of"):
        load(snapshot)


def test_weights_that_are_missing_are_not_made_up(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match=r"has no model\.safetensors; export the run again"):
        HubNetwork.from_pretrained(folder)


def test_a_network_with_a_file_that_has_changed_is_refused(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors has changed since it was exported"):
        HubNetwork.from_pretrained(folder)


def test_a_run_folder_is_known_and_the_way_to_a_network_of_the_hub_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(ValueError, match=r"is a run folder, .* xnas export .* --format hub"):
        HubNetwork.from_pretrained(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_saved_in_16_bits_comes_back_with_the_same_values(
    dtype: torch.dtype, folder: Path, tmp_path: Path
) -> None:
    network = HubNetwork.from_pretrained(folder).to(dtype)
    network.save_pretrained(tmp_path / "saved")
    again = HubNetwork.from_pretrained(tmp_path / "saved")
    ours, theirs = network.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name].float(), theirs[name].float()) for name in ours)
    images = pixels(CASE, 3)
    assert load(tmp_path / "saved").predict(images).isfinite().all()
    sizes = [(place / "model.safetensors").stat().st_size for place in (tmp_path / "saved", folder)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda network: network.double(), "has the type torch.float64, but must have torch.float32"),
        (
            lambda network: network.network.classifier.weight.data.fill_(torch.nan),
            "has values that are not finite",
        ),
        (
            lambda network: setattr(network.network, "classifier", torch.nn.Linear(16, 9)),
            "classifier.weight has the shape",
        ),
    ],
)
def test_what_could_not_come_back_is_not_saved_and_what_was_there_stays(
    spoil: Any, said: str, folder: Path, tmp_path: Path
) -> None:
    network = HubNetwork.from_pretrained(folder)
    network.save_pretrained(tmp_path / "saved")
    before = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    spoil(network)
    with pytest.raises(ValueError, match=said):
        network.save_pretrained(tmp_path / "saved")
    assert {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()} == before


def test_the_weights_are_serialised_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = HubNetwork.from_pretrained(folder)
    saved: list[int] = []

    def counted(*words: Any, **more: Any) -> bytes:
        saved.append(1)
        return save(*words, **more)

    monkeypatch.setattr("xnas.export.load.save", counted)
    network.save_pretrained(tmp_path / "saved")
    assert saved == [1]
