from pathlib import Path

import pytest

from xnas.report.figures.curves import draw_survivors, wipeout_epoch
from xnas.report.figures.expert_weights import PlotArea, draw_expert_weights, panel_places
from xnas.runs.history import read_history
from xnas.space.architecture import chosen_operations
from xnas.space.published import published_genotype

from ....helpers.run_builder import EDGES, build_run


def test_panels_stand_by_node_and_source_and_other_labels_in_rows_of_five() -> None:
    assert panel_places(EDGES[:5]) == [
        PlotArea(0, 0),
        PlotArea(0, 1),
        PlotArea(1, 0),
        PlotArea(1, 1),
        PlotArea(1, 2),
    ]
    assert panel_places(["stem", "0→2", "head", "a", "b", "c"])[-1] == PlotArea(1, 0)
    assert panel_places(["0→2", "0→2"]) == [PlotArea(0, 0), PlotArea(0, 1)]


def test_every_edge_has_a_panel_and_the_chosen_ones_name_their_operation(tmp_path: Path) -> None:
    history = read_history(build_run(tmp_path / "run"))
    chosen = chosen_operations(published_genotype("xnas"), "normal")
    figure = draw_expert_weights(history, history.groups["normal"], chosen=chosen)
    assert [axes.get_title(loc="left") for axes in figure.axes] == EDGES
    assert sum(bool(axes.get_title(loc="right")) for axes in figure.axes) == len(chosen) == 8


def test_an_expert_ends_with_a_cross_at_its_wipeout(tmp_path: Path) -> None:
    history = read_history(build_run(tmp_path / "run"))
    figure = draw_expert_weights(history, history.groups["normal"])
    gone = [wipeout for wipeout in history.wipeouts if wipeout.group == "normal"]
    crosses = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "x"]
    assert len(crosses) == len(gone)
    assert all(
        wipeout.epoch - 1 <= wipeout_epoch(wipeout.epoch, wipeout.step, 52) <= wipeout.epoch
        for wipeout in gone
    )


@pytest.mark.parametrize(("strength", "zoomed"), [(0.02, True), (1.0, False)])
def test_the_axis_is_zoomed_only_while_all_weights_are_near_uniform(
    tmp_path: Path, strength: float, zoomed: bool
) -> None:
    history = read_history(build_run(tmp_path / "run", search_epochs=2, strength=strength))
    low, high = draw_expert_weights(history, history.groups["normal"]).axes[0].get_ylim()
    assert (low > 0) == zoomed
    assert low < 1 / 7 < high
    assert (high < 0.3) == zoomed


def test_survivors_step_down_to_what_is_alive_at_the_end(tmp_path: Path) -> None:
    history = read_history(build_run(tmp_path / "run"))
    alive_EK = history.search[-1].groups["normal"].alive_EK
    line = draw_survivors(history).axes[0].lines[0]
    assert list(line.get_ydata())[-1] == pytest.approx(sum(map(sum, alive_EK)) / 98)
