"""Training in bfloat16: what is computed in 16 bits, and what keeps all of its bits."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xnas import Config, DataSet, RunFolder, SearchTrainer, published_genotype
from xnas.optimizers.registry import METHODS
from xnas.runs.checkpoint import read_checkpoint
from xnas.train.device import autocast
from xnas.train.retrain import RetrainTrainer, fit_retrain
from xnas.train.search import fit_search

CPU = torch.device("cpu")
LOW = torch.bfloat16


def in_16_bits(config: Config, *, activation_checkpointing: bool = False, **searching: Any) -> Config:
    return dataclasses.replace(
        config,
        activation_checkpointing=activation_checkpointing,
        search=dataclasses.replace(config.search, precision="bfloat16", **searching),
        retrain=dataclasses.replace(config.retrain, precision="bfloat16"),
    )


def watched(trainer: SearchTrainer | RetrainTrainer) -> dict[str, set[torch.dtype]]:
    """The types of what each kind of module gives, as far as the course has come."""
    found: dict[str, set[torch.dtype]] = {}

    def watch(kind: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(module: nn.Module, given: Any, output: Any) -> None:
            del module, given
            if isinstance(output, Tensor):
                found.setdefault(kind, set()).add(output.dtype)

        return note

    for module in trainer.network.modules():
        module.register_forward_hook(watch(type(module).__name__))
    return found


@pytest.mark.parametrize("optimizer", METHODS)
def test_a_search_comes_to_a_genotype_and_all_that_decides_has_its_full_precision(
    optimizer: str, tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    config, folder = in_16_bits(tiny, method=optimizer), RunFolder.at(tmp_path / "mine")
    trainer = SearchTrainer(config, data, device=CPU)
    measure, seen = trainer.experts.measure, list[Tensor]()

    def watch(*given: Any, **named: Any) -> Tensor:
        losses_B = measure(*given, **named)
        seen.append(losses_B)
        seen.extend(trainer.experts.gradients(name) for name in trainer.experts.groups)
        return losses_B

    trainer.experts.measure = watch  # type: ignore[method-assign]
    genotype = fit_search(trainer, folder=folder)
    assert folder.genotype() == genotype
    for tensor in seen:
        assert tensor.dtype in (torch.float32, torch.float64)
        assert tensor.isfinite().all()
    if trainer.epochs:
        losses_B, *gradients = seen[:3]
        assert losses_B.bfloat16().float().ne(losses_B).any()
        assert all(gradients_FEK.abs().sum() > 0 for gradients_FEK in gradients)
    for name, tensor in trainer.state_dict().items():
        assert tensor.dtype not in (LOW, torch.float16), name


def test_features_are_of_16_bits_and_logits_of_32(tiny: Config, data: DataSet) -> None:
    trainer = SearchTrainer(in_16_bits(tiny), data, device=CPU)
    found = watched(trainer)
    train, validation = next(trainer.epoch_batches(1))
    trainer.training_step(train, validation)
    for kind in ("Conv2d", "Norm", "SearchCell", "Linear"):
        assert found[kind] == {LOW}, kind
    assert trainer.logits(train.images_BCHW).dtype == torch.float32
    gradients = [parameter.grad for parameter in trainer.network.parameters() if parameter.grad is not None]
    assert {gradient.dtype for gradient in gradients} == {torch.float32}


@pytest.mark.parametrize("feedback", ["sample", "batch"])
def test_rewards_are_near_those_of_float32(feedback: str, tiny: Config, data: DataSet) -> None:
    rewards = []
    for config in (tiny, in_16_bits(tiny)):
        config = dataclasses.replace(
            config, search=dataclasses.replace(config.search, feedback=feedback, reward_bound=1.0)
        )
        trainer = SearchTrainer(config, data, device=CPU)
        train, validation = next(trainer.epoch_batches(1))
        trainer.measure(validation, training=train)
        rewards.append(
            torch.cat([trainer.experts.gradients(name).flatten() for name in trainer.experts.groups])
        )
    exact, low = rewards
    assert 0 < (low - exact).norm() < 0.1 * exact.norm()


def test_cells_that_are_computed_twice_are_so_in_the_same_precision(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    saved = []
    for activation_checkpointing in (False, True):
        folder = RunFolder.at(tmp_path / str(activation_checkpointing))
        trainer = SearchTrainer(
            in_16_bits(tiny, activation_checkpointing=activation_checkpointing), data, device=CPU
        )
        fit_search(trainer, folder=folder)
        saved.append(read_checkpoint(folder.checkpoints("search").found()[0]).tensors)
    plain, saving = saved
    assert plain.keys() == saving.keys()
    assert all(torch.equal(plain[name], saving[name]) for name in plain)


def test_a_retraining_learns_and_its_test_is_that_of_float32(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    config, folder = in_16_bits(tiny), RunFolder.at(tmp_path / "mine")
    trainer = RetrainTrainer(published_genotype("xnas"), config, data, device=CPU)
    found = watched(trainer)
    trainer.training_step(*next(trainer.epoch_batches(1)))
    assert found["NetworkCell"] == found["DepthwiseConv2d"] == {LOW}
    assert {tensor.dtype for tensor in trainer.network.state_dict().values()} == {torch.float32, torch.int64}
    result = fit_retrain(published_genotype("xnas"), config, data, name="mine", device=CPU, folder=folder)
    assert result["test_accuracy"] > 0.3  # type: ignore[operator]


def test_the_precision_is_part_of_what_a_run_is_fixed_by(tiny: Config, data: DataSet, tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    fit_search(SearchTrainer(tiny, data, device=CPU), folder=folder)
    with pytest.raises(ValueError, match=r"search.precision was float32, is bfloat16; give it the same"):
        fit_search(SearchTrainer(in_16_bits(tiny), data, device=CPU), folder=folder)


def test_a_device_that_cannot_is_told_of_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^the device meta does not compute in bfloat16: .*; use float32$"):
        autocast(torch.device("meta"), "bfloat16")
