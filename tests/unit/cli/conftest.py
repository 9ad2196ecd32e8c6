import pytest

from xnas.space.architecture import Architecture
from xnas.train import pipeline
from xnas.train.context import RunRequest


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is searched and trained from now on."""
    names: list[str] = []
    search_it, train_it = pipeline.run_search, pipeline.run_retrain

    def searched(request: RunRequest) -> int:
        names.append(str(request.place.name))
        return search_it(request)

    def trained(request: RunRequest, genotype: Architecture) -> int:
        names.append(str(request.place.name))
        return train_it(request, genotype)

    monkeypatch.setattr(pipeline, "run_search", searched)
    monkeypatch.setattr(pipeline, "run_retrain", trained)
    return names
