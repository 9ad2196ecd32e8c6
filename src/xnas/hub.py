"""Networks on the Hugging Face Hub, or in a folder as there: `from_pretrained`, `save_pretrained`, `push_to_hub`.

    from xnas.hub import HubNetwork

    network = HubNetwork.from_pretrained("OWNER/NAME")  # or a folder of `xnas export`
    network.push_to_hub("OWNER/NAME")

B: samples; C H W: channels, height, width; D: classes.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

try:
    from huggingface_hub import PyTorchModelHubMixin, snapshot_download
except ImportError as error:
    raise ImportError("xnas.hub needs huggingface_hub: pip install 'xnas[hub]'") from error

from xnas.export.load import ABOUT, WEIGHTS, exported_files, read_exported, tensors_to_export
from xnas.export.metadata import About
from xnas.export.model_card import CARD, model_card
from xnas.io.atomic import alone_in, atomic_write
from xnas.io.safe_read import exists


class HubNetwork(nn.Module, PyTorchModelHubMixin):
    """A trained network with its description. It takes normalised images; `about` has classes and normalisation."""

    def __init__(self, network: nn.Module, *, about: About) -> None:
        super().__init__()
        self.network = network
        self.about = about

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, D) of normalised images (B, C, H, W)."""
        logits: Tensor = self.network(images)
        return logits

    def save_pretrained(self, save_directory: str | Path, **words: Any) -> str | None:
        """Save as the mixin does; a network that `from_pretrained` would refuse is refused before anything changes.

        Weights of 16 bits stay so in the file, and come back in float32, with the same values. Raises ValueError for
        other types, values that are not finite, and tensors that are not those of the description.
        """
        tensors_to_export(self.about, self.network)
        said: str | None = super().save_pretrained(save_directory, **words)
        return said

    def _save_pretrained(self, save_directory: Path) -> None:
        files = exported_files(self.about, self.network)
        if not exists(save_directory / CARD):  # somebody may have written more into it
            files[CARD] = model_card(self.about, name=save_directory.name).encode()
        # The mixin has taken the old description away; without one nothing is read, so the new one comes last.
        with alone_in(save_directory):
            for name in sorted(files, key=lambda name: name == ABOUT):
                atomic_write(save_directory / name, files[name])

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str = "cpu",
        strict: bool = True,
        **model_kwargs: Any,
    ) -> "HubNetwork":
        """The mixin's own way would fill in what is missing, and take pickles; this one refuses both."""
        del strict  # it always is
        if model_kwargs:
            raise TypeError(
                f"HubNetwork.from_pretrained takes no {', '.join(model_kwargs)}: the folder says what the network is; "
                "map_location says the device"
            )
        folder = Path(model_id)
        if not folder.is_dir():
            folder = Path(
                snapshot_download(
                    model_id,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                    allow_patterns=[ABOUT, WEIGHTS],
                )
            )
        about, network = read_exported(folder)
        return cls(network, about=about).to(torch.device(map_location)).eval()
