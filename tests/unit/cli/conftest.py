import pytest

from xnas.cli import retrain, search
from xnas.cli.session import RunRequest
from xnas.space.architecture import Architecture


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is searched and trained from now on."""
    names: list[str] = []
    search_it, train_it = search.carry_out, retrain.carry_out

    def searched(request: RunRequest) -> int:
        names.append(str(request.place.name))
        return search_it(request)

    def trained(request: RunRequest, genotype: Architecture) -> int:
        names.append(str(request.place.name))
        return train_it(request, genotype)

    monkeypatch.setattr(search, "carry_out", searched)
    monkeypatch.setattr(retrain, "carry_out", trained)
    return names
