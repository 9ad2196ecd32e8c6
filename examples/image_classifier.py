"""Search, train and predict in a few lines, on part of the images that ship with xnas; about a minute on two CPU cores.

python examples/image_classifier.py
"""

import numpy as np

import xnas

SETTINGS = {
    "space": {"nodes": 2, "channels": 8},
    "search": {"epochs": 2, "warmup_epochs": 1},
    "retrain": {"channels": 8, "epochs": 2},
}
"""Smaller than those of the preset, which takes minutes and finds better networks."""


def main(*, count: int = 3000, folder: str | None = None) -> float:
    """Fit to `count` images; returns the accuracy on 500 others."""
    data = xnas.load_data("fashion-mnist-small")
    names = np.array(data.train.classes)
    images, labels = data.train.pixels(np.arange(count)), names[data.train.labels_N[:count]]
    others, truth = data.test.pixels(np.arange(500)), names[data.test.labels_N[:500]]

    classifier = xnas.ImageClassifier(preset="quick", folder=folder, settings=SETTINGS, verbose=True)
    classifier.fit(images, labels)
    print(f"the first three: {classifier.predict(others[:3])}, in truth {truth[:3]}")
    accuracy = classifier.score(others, truth)
    print(f"accuracy on {len(truth)} images that it has not seen: {accuracy:.1%}")
    print(f"report: {classifier.run_folder_ / 'report.html'}")
    return accuracy


if __name__ == "__main__":
    main()
