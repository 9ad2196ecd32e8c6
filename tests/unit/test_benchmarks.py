"""The benchmarks: what is measured is what is said, and all of them run."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import memory, nasbench201_cell, retrain_step, survivors, traffic
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.bound import least_seconds
from benchmarks.figure import Figure
from benchmarks.gpu import figures_of
from benchmarks.layers import flows
from benchmarks.options import Options
from benchmarks.results import Result, read_results, table, write_result
from benchmarks.rounds import SMALL, fast_search, plain_search
from benchmarks.timing import Timing, in_turn, time_ratio
from xnas import Network, count_multiply_adds, published_genotype
from xnas.space.darts.supernet import Supernet
from xnas.space.fast.depthwise import DepthwiseConv2d
from xnas.space.forecaster import Forecaster
from xnas.train.build import network_spec
from xnas.train.memory import peak_memory

ROOT = Path(__file__).parents[2]
QUICK = Options(n=1, small=True)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


def figure(**changed: object) -> Figure:
    settings: dict[str, object] = {
        "name": "time",
        "values": (4.0, 1.0, 2.0, 3.0, 9.0),
        "unit": "plain / fast",
    }
    return Figure(**(settings | changed))  # type: ignore[arg-type]


def test_a_figure_is_the_median_with_the_distance_of_its_quartiles_and_its_worst() -> None:
    found = figure(better="more", target=2.5)
    assert (found.value, found.spread, found.worst, found.n, found.met) == (3, 2, 1, 5, True)
    assert (figure(better="less").worst, figure().worst) == (9, 9)
    assert not figure(better="less", target=2.5).met
    assert figure().met is None
    assert figure(values=(2.0,)).spread is None
    assert figure(processor=(5.0, 7.0)).by_processor == 6
    assert "MISSED: ≤ 2.5" in str(figure(better="less", target=2.5))


def test_a_figure_without_values_or_with_a_target_of_no_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        figure(values=())
    with pytest.raises(ValueError, match="more or less"):
        figure(target=1.0)


def test_tasks_run_in_turn_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    timings = in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, n=2)
    assert "".join(order) == "ababab"
    assert [len(timing.wall) for timing in timings.values()] == [2, 2]
    assert all(value > 0 for timing in timings.values() for value in timing.wall + timing.cpu)


def test_a_ratio_divides_neighbours_in_time() -> None:
    above, below = Timing((2.0, 9.0), (4.0, 4.0)), Timing((1.0, 3.0), (2.0, 1.0))
    found = time_ratio("round", "plain / fast", above, below, better="more", target=2)
    assert (found.values, found.processor, found.met) == ((2.0, 3.0), (2.0, 4.0), True)
    assert (above + below).wall == (3.0, 12.0)


def result(name: str, *figures: Figure) -> Result:
    where = {"device_name": "a processor", "cores": 2, "threads": 1, "versions": {"torch": "9", "xnas": "1"}}
    return Result(
        benchmark=name, about="What it is.", figures=figures, date="2026-11-24", command="python -m benchmarks",
        small=False, busy_cores=0.0, environment=where | {"commit": None},
    )  # fmt: skip


def test_results_come_back_from_their_files_and_make_a_table(tmp_path: Path) -> None:
    first = result("first", figure(better="more", target=5, processor=(3.0,)), figure(name="other"))
    second = result("second", figure(name="third", values=(0.012,)))
    for each in (second, first):
        write_result(each, tmp_path)
    assert read_results(tmp_path) == [first, second]
    written = (tmp_path / "README.md").read_text()
    assert written == table([first, second])
    assert "| time | 3.00 | plain / fast | 2.00 | 1.00 | 3.00 | 5 | ≥ 5, **missed** | 1 |" in written
    assert "| third | 0.012 | plain / fast |  | 0.012 |  | 1 | 2 |" in written
    assert "a processor, 2 cores, 1 threads, torch 9" in written


def test_a_damaged_result_is_named_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bound.json").write_text("{}")
    assert main(["depthwise", "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "bound.json is no benchmark's result" in printed.err
    assert printed.out == ""


def test_the_command_line_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["depthwise", "gpu", "--n", "2", "--small", "--out", str(tmp_path)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "depthwise 5 x 5, stride 1, dilation 2: " in printed
    if not torch.cuda.is_available():
        assert "no CUDA device is there" in printed
        assert {path.name for path in tmp_path.iterdir()} == {"depthwise.json", "README.md"}
    content = json.loads((tmp_path / "depthwise.json").read_text())
    assert content["command"] == " ".join(["python -m benchmarks", *arguments])
    assert [len(found["values"]) for found in content["figures"]] == [2] * 5
    assert "the figures mean nothing" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], "unknown benchmark 'nosuch'"),
        (["--n", "0"], "--n must be"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_mistakes_end_in_a_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_help_does_not_load_torch() -> None:
    code = (
        "import sys, contextlib\nfrom benchmarks.__main__ import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in BENCHMARKS)


@pytest.mark.parametrize(
    "name", [name for name in BENCHMARKS if name not in ("depthwise", "gpu", "communication")]
)
def test_every_benchmark_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_this_process(case: str, *, small: bool) -> int:
        memory.cases()[case](small)()
        return 2**20

    monkeypatch.setattr(memory, "peak_in_a_fresh_process", in_this_process)
    figures = importlib.import_module(f"benchmarks.{name}").measure(QUICK)
    assert len({found.name for found in figures}) == len(figures)
    assert all(value > 0 for found in figures for value in found.values)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_what_a_gpu_is_measured_by_runs_here_as_far_as_it_can(bfloat16: bool) -> None:
    figures = figures_of("cpu", Options(n=1, small=True, bfloat16=bfloat16))
    assert all(value > 0 for found in figures for value in found.values)


def test_peak_memory_is_that_of_the_case_alone() -> None:
    # This process has held more than the case does: what it held must not count.
    held = memory.peak_in_a_fresh_process("fast round", small=True)
    assert 2**20 < held < peak_memory(memory.CPU)


def test_survivors_keep_the_share_that_is_wanted_and_one_expert_each() -> None:
    supernet = fast_search(SMALL).model
    costs = survivors.expert_costs(supernet, SMALL)
    full = count_multiply_adds(supernet, SMALL.image_shape)
    for share in (0.5, 0.25):
        alive = survivors.survivors(costs, full=full, share=share)
        left = fast_search(SMALL, alive=alive).model
        assert count_multiply_adds(left, SMALL.image_shape) == pytest.approx(share * full, rel=0.02)
    alone = survivors.survivors(costs, full=full, share=0)
    assert all((alive_EK.sum(dim=1) == 1).all() for alive_EK in alone.values())


def test_multiply_adds_of_the_bound_are_those_of_all_passes() -> None:
    supernet = fast_search(SMALL).model
    assert isinstance(supernet, Supernet)
    forward = SMALL.batch * count_multiply_adds(supernet, SMALL.image_shape)
    stem = SMALL.batch * flows(supernet, SMALL.image_shape)[supernet.stem.conv].multiply_adds
    learning = traffic.pass_work(supernet, SMALL, learns=True)
    # Forward, by inputs and by weights; images need no gradient.
    assert sum(work.multiply_adds for work in learning.values()) == 3 * forward - stem
    rewarding = traffic.pass_work(supernet, SMALL, learns=False)
    assert forward < sum(work.multiply_adds for work in rewarding.values()) < 2 * forward - stem
    assert rewarding["norms"].num_bytes < learning["norms"].num_bytes
    assert "optimizer" not in rewarding


def test_a_separable_convolution_moves_ten_tensors() -> None:
    # z of each round written and read: 4. Backward, the last z for the sums and once more, the first z for the mask and
    # once more, and the gradient between the rounds written and read: 6.
    supernet = fast_search(SMALL).model
    forecaster = next(module for module in supernet.modules() if isinstance(module, Forecaster))
    for name in [name for name in forecaster.names if name != "sep_conv_3x3"]:
        forecaster.remove(name)
    tally = traffic._Tally(flows(supernet, SMALL.image_shape), learns=True)
    tally.edge(forecaster, 100, 100, needs_gradient=True)
    assert sum(work.numbers for work in tally.parts.values()) == 10 * 100
    rewards = traffic._Tally(flows(supernet, SMALL.image_shape), learns=False)
    rewards.edge(forecaster, 100, 100, needs_gradient=False)
    assert sum(work.numbers for work in rewards.parts.values()) == 5 * 100


def test_the_bound_of_a_part_is_the_longer_of_moving_and_multiplying() -> None:
    work = traffic.Work(numbers=100, multiply_adds=1000)
    assert least_seconds(work, bandwidth=100, multiply_rate=1000) == 4
    assert least_seconds(work, bandwidth=1000, multiply_rate=100) == 10


def test_plain_and_fast_rounds_have_the_same_losses() -> None:
    plain, fast = plain_search(SMALL), fast_search(SMALL)
    torch.testing.assert_close(plain.logits(), fast.logits(), rtol=1e-3, atol=1e-4)
    before = [parameter.clone() for parameter in fast.model.parameters()]
    for search in (plain, fast):
        search.round()
    after = list(fast.model.parameters())
    assert not all(map(torch.equal, before, after))
    torch.testing.assert_close(after, list(plain.model.parameters()), rtol=1e-3, atol=1e-4)


def test_the_plain_cells_of_nasbench201_compute_what_ours_do() -> None:
    torch.manual_seed(0)
    model = nasbench201_cell.supernet(nasbench201_cell.SMALL).double()
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    plain, ours = nasbench201_cell.plain_logits(model, images)[0], model(images)
    torch.testing.assert_close(plain, ours, rtol=1e-9, atol=1e-11)
    gradients = [
        torch.autograd.grad(logits.square().sum(), list(model.parameters())) for logits in (plain, ours)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-11)


def test_the_plain_network_computes_what_ours_does() -> None:
    config, size = retrain_step.SMALL
    torch.manual_seed(0)
    plan = network_spec(config, image_channels=3, num_classes=10)
    network = Network(published_genotype(retrain_step.GENOTYPE), plan).double()
    assert any(isinstance(module, DepthwiseConv2d) for module in network.modules())
    images = torch.randn(4, 3, size, size, dtype=torch.float64)
    torch.testing.assert_close(
        retrain_step.plain_network_logits(network, images), network(images), rtol=1e-9, atol=1e-11
    )
