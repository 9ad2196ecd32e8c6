"""The model card: README.md beside the weights, as hubs show it, with the figures of the one run and no others."""

import json
import re
from collections.abc import Iterator

from xnas.export.metadata import About
from xnas.io.text import printable
from xnas.report.stats import wilson_interval
from xnas.runs.folder import Result
from xnas.space.architecture import architecture_text

CARD = "README.md"
_UNPRINTED = re.compile(
    "[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""Characters that act, or that YAML takes as escapes alone."""

MOST_CLASSES = 30
"""Classes that are listed."""


def model_card(about: About, *, name: str) -> str:
    """Return the card in Markdown, ending in a newline; `name` is what the network is called."""
    return "\n".join((*_front_matter(about, name), "", *_text(about, name))) + "\n"


def _front_matter(about: About, name: str) -> Iterator[str]:
    yield "---"
    yield "library_name: xnas"
    yield "pipeline_tag: image-classification"
    yield "tags: [image-classification, neural-architecture-search, xnas, timm]"
    if about.result:  # JSON is YAML too, and quotes whatever a name holds
        metrics = [{"type": "accuracy", "value": about.result.test_accuracy}]
        dataset = {"name": about.data, "type": about.data}
        task = {"type": "image-classification"}
        results = [{"task": task, "dataset": dataset, "metrics": metrics}]
        yield f"model-index: {_yaml([{'name': name, 'results': results}])}"
    yield "---"


def _yaml(value: object) -> str:
    """JSON that YAML reads as the same: it takes no halves of characters, which JSON writes beyond U+FFFF as two of."""

    def escaped(found: re.Match[str]) -> str:
        code = ord(found[0])
        half = 0xD800 <= code <= 0xDFFF  # of a name that is not UTF-8: told as text
        return ("\\\\" if half else "\\") + f"u{code:04x}"

    return _UNPRINTED.sub(escaped, json.dumps(value, ensure_ascii=False))


def _text(about: About, name: str) -> Iterator[str]:
    plan, (channels, height, width) = about.plan, about.image_shape
    colour = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    yield f"# {_plain(name)}"
    yield ""
    yield f"An image classifier of {plan.num_classes:,} classes, trained on {_plain(about.data)} by xnas."
    yield ""
    yield from _figures(about.result)
    stem = f"the {plan.stem} stem" + (", squeeze-and-excitation" if plan.squeeze_excite else "")
    yield f"- Network: {plan.cells} cells, {plan.channels} channels, {stem}."
    yield f"- Images: {colour}, {height} x {width} pixels in training; other sizes are taken, untested."
    yield f"- Normalisation: (pixel / 255 - mean) / std, mean {list(about.mean)}, std {list(about.std)}."
    listed = ", ".join(map(_plain, about.classes[:MOST_CLASSES]))
    more = len(about.classes) - MOST_CLASSES
    yield f"- Classes: {listed}{f' and {more:,} more' if more > 0 else ''}."
    yield ""
    yield "## Use"
    yield ""
    yield "```python"
    yield "import xnas"
    yield ""
    yield 'trained = xnas.load("FOLDER")               # this folder, downloaded'
    yield "probabilities = trained.predict(images)     # uint8 (N, C, H, W) to (N, classes)"
    yield ""
    yield "from xnas.hub import HubNetwork"
    yield 'network = HubNetwork.from_pretrained("OWNER/NAME")   # or this folder'
    yield ""
    yield "import timm, xnas.timm_models"
    yield 'model = timm.create_model("local-dir:FOLDER", pretrained=True)'
    yield "```"
    yield ""
    yield "`xnas predict FOLDER IMAGES...` prints classes and probabilities."
    yield ""
    yield "## Architecture"
    yield ""
    yield "```"
    yield architecture_text(about.genotype)
    yield "```"


def _figures(result: Result | None) -> Iterator[str]:
    if result is None:
        yield "- Test accuracy: not measured."
        return
    share = f"{100 * result.test_accuracy:.2f} %"
    if result.test_samples:
        low, high = wilson_interval(result.test_accuracy, samples=result.test_samples)
        share += (
            f" of {result.test_samples:,} test images (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
        )
    yield f"- Test accuracy: {share}, loss {result.test_loss:.4f}, measured once."
    yield (
        f"- Training: {result.epochs:,} epochs, seed {result.seed}, n = 1: other seeds give other figures, and the "
        "interval covers the luck of the test images alone."
    )
    yield f"- Size: {result.parameters:,} parameters, {result.multiply_adds / 1e6:,.1f} M multiply-adds an image."


def _plain(text: str) -> str:
    """Return a name with nothing in it that Markdown or HTML would act on."""
    return "".join(f"&#{ord(mark)};" if mark in "<>&`*_[]|\\#" else mark for mark in printable(text))
