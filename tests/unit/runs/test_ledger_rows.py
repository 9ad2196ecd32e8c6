"""What metrics.jsonl says of regret and cost, and what a search remarks on, on small images."""

import dataclasses
from pathlib import Path

import pytest
import torch

from xnas import Config, DataSet, RunFolder, SearchTrainer, count_multiply_adds
from xnas.io.errors import Interrupted
from xnas.report.regret import check_regret
from xnas.runs.callbacks import NullCallback
from xnas.runs.history import read_history
from xnas.runs.signals import StopRequest
from xnas.train.search import fit_search

from ...helpers.log_lines import LogLines

CPU = torch.device("cpu")


class Listener(NullCallback, LogLines):
    """Keeps what is said within it, and may ask for the end after some rounds."""

    def __init__(self, after: int = 0) -> None:
        super().__init__()
        self.stop_request, self.left = StopRequest(), after

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.said if line.startswith("warning")]

    def step_done(self, **values: object) -> None:
        del values
        self.left -= 1
        if self.left == 0:
            self.stop_request.number = 2


def with_search(config: Config, **settings: object) -> Config:
    return dataclasses.replace(config, search=dataclasses.replace(config.search, **settings))  # type: ignore[arg-type]


def go(config: Config, data: DataSet, folder: RunFolder, *, after: int = 0) -> Listener:
    listener = Listener(after)
    trainer = SearchTrainer(config, data, device=CPU)
    if after:
        with pytest.raises(Interrupted), listener:
            fit_search(trainer, folder=folder, callback=listener, stop_request=listener.stop_request)
    else:
        with listener:
            fit_search(trainer, folder=folder, callback=listener, stop_request=listener.stop_request)
    return listener


@pytest.mark.parametrize("settings", [{}, {"feedback": "batch", "zeta": 0.1}, {"wipeout": False}])
def test_in_every_row_the_regret_is_within_its_bound(
    settings: dict[str, object], tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    go(with_search(tiny, epochs=3, **settings), data, folder)
    history = read_history(folder.path)
    for row in history.search:
        for name, weights in row.groups.items():
            assert weights.ledger is not None
            promise = check_regret(weights.ledger)
            assert promise is not None
            assert promise.kept == promise.forecasters == len(history.groups[name].edges)
            assert (promise.reward_size > 0) == (row.epoch > 0)
    assert history.search[0].groups["normal"].ledger != history.search[3].groups["normal"].ledger


def test_multiply_adds_are_those_of_the_supernet_as_it_is_left(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    trainer = SearchTrainer(tiny, data, device=CPU)
    whole = count_multiply_adds(trainer.network, data.image_shape)
    fit_search(trainer, folder=folder)
    told = [row.multiply_adds for row in read_history(folder.path).search]
    assert told[0] == trainer.full_multiply_adds == whole
    assert told[2] == count_multiply_adds(trainer.network, data.image_shape) < whole


def test_rivals_have_no_ledger(tiny: Config, data: DataSet, tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    go(with_search(tiny, method="gd", epochs=1), data, folder)
    history = read_history(folder.path)
    assert history.groups["normal"].method == "gd"
    assert [weights.ledger for row in history.search for weights in row.groups.values()] == [None] * 4


@pytest.mark.parametrize(
    ("reward_bound", "words"),
    [
        (1000.0, "L is far above the rewards (group normal: L = 1000, mean |R| 0."),
        (1e-4, "L is far below the rewards (group normal: L = 0.0001, 100% clipped; group reduction: "),
    ],
)
def test_an_l_that_does_not_suit_is_said_once_by_a_resumed_search_too(
    reward_bound: float, words: str, tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    config = with_search(tiny, reward_bound=reward_bound)
    told = go(config, data, RunFolder.at(tmp_path / "whole")).warnings
    assert len(told) == 1
    assert words in told[0]
    folder = RunFolder.at(tmp_path / "early")
    assert go(config, data, folder, after=1).warnings == []
    assert go(config, data, RunFolder(folder.path)).warnings == told
    folder = RunFolder.at(tmp_path / "late")
    assert go(config, data, folder, after=3).warnings == told
    assert go(config, data, RunFolder(folder.path)).warnings == []


def test_skip_connections_that_take_over_are_said_once(tiny: Config, data: DataSet) -> None:
    trainer = SearchTrainer(tiny, data, device=CPU)
    state = trainer.experts.state_dict()
    for name in trainer.experts.groups:
        state[f"{name}.log_v_EK"][:3, trainer.experts.names(name).index("skip_connect")] += 1.0
        state[f"{name}.num_feedbacks"] += 1
    trainer.experts.load_state_dict(state)
    rows = trainer.opening_rows()
    assert trainer.warnings(rows[0]) == []
    (line,) = [line for line in trainer.warnings(rows[-1]) if "skip" in line]
    # 3 of 5, and a seventh each of two where all are level
    assert line.startswith(
        "skip connections lead 66% of group normal's and 66% of group reduction's forecasters: "
    )
    assert trainer.warnings(rows[-1]) == []
