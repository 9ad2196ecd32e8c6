"""The pieces of the recipe in a retraining: what is descended, what is reported, what is kept and what is not."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from xnas import Config, DataSet, RunFolder, TrainedNetwork, published_genotype
from xnas.data.loader import Batch
from xnas.io.errors import Interrupted, NonFinite
from xnas.runs.checkpoint import read_checkpoint
from xnas.space.cost import count_layer_multiply_adds, count_parameters
from xnas.space.darts.network import Network
from xnas.space.nasbench201.genotype import Nasbench201Genotype
from xnas.space.published import published_names
from xnas.train.drop_path import draw_paths
from xnas.train.retrain import RetrainTrainer, fit_retrain, validate_retrain
from xnas.train.step import build_sgd

from .test_loop import Stopper, tensors

CPU = torch.device("cpu")
GENOTYPE = published_genotype("xnas")

WHOLE: dict[str, Any] = {
    "epochs": 4,
    "cosine_power": 10.0,
    "cycles": 2,
    "cycle_decay": 0.5,
    "nesterov": True,
    "label_smoothing": 0.1,
    "drop_path": 0.3,
    "auxiliary_weight": 0.4,
}
"""The whole recipe."""


def recipe(
    config: Config, *, activation_checkpointing: bool = False, cutout: int = 4, **settings: Any
) -> Config:
    return dataclasses.replace(
        config,
        activation_checkpointing=activation_checkpointing,
        data=dataclasses.replace(config.data, cutout=cutout),
        retrain=dataclasses.replace(config.retrain, **settings),
    )


def course_of(config: Config, data: DataSet) -> RetrainTrainer:
    return RetrainTrainer(GENOTYPE, config, data, device=CPU)


def batch_of(trainer: RetrainTrainer) -> Batch:
    (batch,) = next(trainer.epoch_batches(trainer.epochs_done + 1))
    return batch


def smoothed_loss(logits_BD: Tensor, labels_B: Tensor, smoothing: float) -> Tensor:
    """Word by word: (1 - s) + s / D for the true class and s / D for each other."""
    classes = logits_BD.shape[1]
    targets_BD = (1 - smoothing) * F.one_hot(labels_B, classes) + smoothing / classes
    return -(targets_BD * logits_BD.log_softmax(dim=1)).sum(dim=1).mean()


def test_the_loss_is_smoothed_and_weighs_the_tower_and_the_plain_one_is_reported(
    tiny: Config, data: DataSet
) -> None:
    trainer = course_of(recipe(tiny, label_smoothing=0.1, auxiliary_weight=0.4), data)
    batch = batch_of(trainer)
    outcome = trainer.forward_loss(batch)
    features = list(trainer.network.features(batch.images_BCHW))  # type: ignore[operator]
    assert trainer.tower is not None
    own, tower = trainer.network.classify(features[-1]), trainer.tower(features[2])  # type: ignore[operator]
    expected = smoothed_loss(own, batch.labels_B, 0.1) + 0.4 * smoothed_loss(tower, batch.labels_B, 0.1)
    torch.testing.assert_close(outcome.loss, expected)
    torch.testing.assert_close(outcome.cross_entropy, F.cross_entropy(own, batch.labels_B))
    assert not torch.isclose(outcome.loss, outcome.cross_entropy)
    trainer.training_step(batch)
    assert trainer.meters["train"].loss == pytest.approx(outcome.cross_entropy.item(), rel=1e-5)


def test_smoothed_labels_by_hand() -> None:
    # Two classes, logits ln 3 and 0: probabilities 3/4 and 1/4; s = 0.2 gives 0.9 and 0.1.
    logits_BD, labels_B = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([0])
    by_hand = -0.9 * torch.tensor(0.75).log() - 0.1 * torch.tensor(0.25).log()
    torch.testing.assert_close(smoothed_loss(logits_BD, labels_B, 0.2), by_hand)
    torch.testing.assert_close(F.cross_entropy(logits_BD, labels_B, label_smoothing=0.2), by_hand)


def test_without_the_pieces_a_retraining_descends_the_plain_loss(tiny: Config, data: DataSet) -> None:
    trainer = course_of(tiny, data)
    assert trainer.tower is None
    outcome = trainer.forward_loss(batch_of(trainer))
    assert outcome.loss is outcome.cross_entropy


def test_paths_are_dropped_by_the_addresses_of_the_running_epoch(tiny: Config, data: DataSet) -> None:
    trainer = course_of(recipe(tiny, epochs=3, drop_path=0.5), data)
    assert isinstance(trainer.network, Network)
    assert trainer.drop_probability == 0
    trainer.step = trainer.steps_per_epoch  # the second epoch of three: half of the probability
    assert trainer.drop_probability == 0.25
    batch = batch_of(trainer)
    paths = draw_paths(batch.ids_B, edges=[8, 8, 8], seed=tiny.seed, epoch=2, probability=0.25)
    *_, last = trainer.network.features(batch.images_BCHW, paths=paths)
    torch.testing.assert_close(trainer.forward_loss(batch).logits_BD, trainer.network.classify(last))


def test_nesterov_steps_along_the_gradient_and_the_momentum_to_come() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    settings = dataclasses.replace(
        Config().retrain, nesterov=True, momentum=0.5, learning_rate=0.1, weight_decay=0.0
    )
    optimizer = build_sgd([weight], settings)
    # Gradient 1 at every step: the velocities are 1 and 1.5, the steps 0.1 (1 + 0.5) and 0.1 (1 + 0.75).
    for expected in (0.85, 0.675):
        weight.grad = torch.tensor([1.0])
        optimizer.step()
        assert weight.item() == pytest.approx(expected)


def test_the_gradient_of_network_and_tower_together_is_clipped_and_both_decay(
    tiny: Config, data: DataSet
) -> None:
    trainer = course_of(recipe(tiny, auxiliary_weight=0.4, clip_norm=1e-3), data)
    assert trainer.tower is not None
    trainer.training_step(batch_of(trainer))
    weights = [weight for _, weight in trainer.named_parameters()]
    assert len(weights) == len([*trainer.network.parameters(), *trainer.tower.parameters()])
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)
    (group,) = trainer.sgd.param_groups
    assert group["weight_decay"] == 3e-4
    assert group["params"] == weights


def test_the_learning_rates_of_the_epochs_are_reported(tiny: Config, data: DataSet, tmp_path: Path) -> None:
    folder = RunFolder.at(tmp_path / "mine")
    config = recipe(tiny, epochs=4, cosine_power=4.0, cycles=2, cycle_decay=0.5, learning_rate=0.1)
    fit_retrain(GENOTYPE, config, data, name="mine", device=CPU, folder=folder)
    rows = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    epochs = [row for row in rows if row["kind"] == "retrain_epoch"]
    # Two cycles of two epochs; in the second of each c = 1/2, and 1 / (sqrt(4) + 1) = 1/3.
    assert [row["learning_rate"] for row in epochs] == pytest.approx([0.1, 0.1 / 3, 0.05, 0.05 / 3])


def test_the_tower_is_in_the_checkpoints_and_not_in_the_trained_network(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    folder, bare = RunFolder.at(tmp_path / "mine"), RunFolder.at(tmp_path / "bare")
    result = fit_retrain(GENOTYPE, recipe(tiny, **WHOLE), data, name="mine", device=CPU, folder=folder)
    without = fit_retrain(GENOTYPE, tiny, data, name="mine", device=CPU, folder=bare)
    for name in ("parameters", "multiply_adds"):
        assert result[name] == without[name]
    weights, plain = folder.weights()[0], bare.weights()[0]
    assert {name: value.shape for name, value in weights.items()} == {
        name: value.shape for name, value in plain.items()
    }
    trained = TrainedNetwork.read(folder, device=CPU)
    assert count_parameters(trained.network) == result["parameters"]
    assert trained.test(data.test, device=CPU).accuracy == result["test_accuracy"]
    kept = read_checkpoint(folder.checkpoints("retrain").found()[0]).tensors
    assert "tower/classifier.weight" in kept
    assert "sgd.momentum_buffer/tower.classifier.weight" in kept
    assert not any(
        name.startswith("tower") for name in read_checkpoint(bare.checkpoints("retrain").found()[0]).tensors
    )


def test_the_tower_changes_nothing_of_the_networks_first_weights(tiny: Config, data: DataSet) -> None:
    with_tower, without = course_of(recipe(tiny, auxiliary_weight=0.4), data), course_of(tiny, data)
    for name, value in without.network.state_dict().items():
        assert torch.equal(with_tower.network.state_dict()[name], value)


def test_a_training_by_the_full_recipe_interrupted_after_any_step_ends_as_if_nothing_had_happened(
    tiny: Config, data: DataSet, tmp_path: Path
) -> None:
    def train(folder: RunFolder, *, after: int = 0, activation_checkpointing: bool = False) -> None:
        stopper = Stopper(after)
        fit_retrain(
            GENOTYPE, recipe(tiny, activation_checkpointing=activation_checkpointing, **WHOLE), data, name="mine",
            device=CPU,
            folder=folder, callback=stopper, stop_request=stopper.stop_request,
        )  # fmt: skip

    whole = RunFolder.at(tmp_path / "whole")
    train(whole)
    # Of 20, five an epoch. It may begin, or cease, to save memory.
    for after, before, later in ((7, False, False), (10, False, True), (13, True, True), (18, True, False)):
        folder = RunFolder.at(tmp_path / f"after-{after}")
        with pytest.raises(Interrupted):
            train(folder, after=after, activation_checkpointing=before)
        torch.rand(7)  # a process of its own would have another state
        train(RunFolder(folder.path), activation_checkpointing=later)
        assert tensors(folder, "retrain") == tensors(whole, "retrain")
        for name in ("metrics.jsonl", "checkpoints/network.safetensors"):
            assert (folder.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_every_piece_changes_what_is_trained(tiny: Config, data: DataSet) -> None:
    def weights(**settings: Any) -> bytes:
        config = recipe(tiny, **{**WHOLE, **settings})
        trainer = course_of(config, data)
        trainer.step = 3 * trainer.steps_per_epoch  # in the last epoch, the second of its cycle
        trainer.training_step(*next(trainer.remaining_batches()))
        return trainer.network.stem.conv.weight.detach().numpy().tobytes()  # type: ignore[union-attr, operator]

    found = [
        weights(),
        weights(cosine_power=1.0),
        weights(cycles=1),
        weights(cycle_decay=1.0),
        weights(nesterov=False),
        weights(label_smoothing=0.0),
        weights(drop_path=0.0),
        weights(auxiliary_weight=0.0),
        weights(cutout=0),
    ]
    assert len(set(found)) == len(found)
    assert weights() == found[0]


def test_a_loss_of_the_tower_that_is_not_finite_stops_before_anything_is_updated(
    tiny: Config, data: DataSet
) -> None:
    trainer = course_of(recipe(tiny, auxiliary_weight=0.4), data)
    assert trainer.tower is not None
    with torch.no_grad():
        trainer.tower.classifier.bias[0] = torch.inf
    before = [weight.clone() for weight in trainer.network.parameters()]
    with pytest.raises(NonFinite, match="the mean loss is nan at step 1 of retrain epoch 1"):
        trainer.training_step(batch_of(trainer))
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.network.parameters(), strict=True))


@pytest.mark.parametrize("name", published_names())
def test_every_published_cell_trains_a_step_by_the_whole_recipe_and_is_counted(
    tiny: Config, data: DataSet, name: str
) -> None:
    trainer = RetrainTrainer(published_genotype(name), recipe(tiny, **WHOLE), data, device=CPU)
    plain = count_parameters(trainer.network), count_layer_multiply_adds(trainer.network, data.image_shape)
    trainer.step = trainer.total_steps - 1  # paths drop by their full probability
    (batch,) = next(trainer.remaining_batches())
    before = [weight.clone() for _, weight in trainer.named_parameters()]
    trainer.training_step(batch)
    moved = [not torch.equal(a, b) for a, (_, b) in zip(before, trainer.named_parameters(), strict=True)]
    assert sum(moved) > 0.95 * len(moved)  # some depthwise weights see nothing but borders in so small images
    assert all(weight.isfinite().all() for _, weight in trainer.named_parameters())
    assert (
        count_parameters(trainer.network),
        count_layer_multiply_adds(trainer.network, data.image_shape),
    ) == plain


@pytest.mark.parametrize("stem", ["strided", "imagenet"])
def test_small_features_and_excitations_go_with_the_whole_recipe(
    tiny: Config, data: DataSet, stem: str
) -> None:
    config = recipe(tiny, stem=stem, squeeze_excite=True, **WHOLE)
    trainer = course_of(config, data)
    trainer.step = trainer.total_steps - 1
    trainer.training_step(*next(trainer.remaining_batches()))
    assert trainer.meters["train"].loss > 0


def test_the_whole_recipe_trains_in_16_bits(tiny: Config, data: DataSet) -> None:
    exact, low = (
        course_of(recipe(tiny, precision=precision, **WHOLE), data) for precision in ("float32", "bfloat16")
    )
    for trainer in (exact, low):
        trainer.step = trainer.total_steps - 1
    outcomes = [trainer.forward_loss(batch_of(trainer)) for trainer in (exact, low)]
    for outcome in outcomes:
        assert outcome.loss.dtype == outcome.logits_BD.dtype == torch.float32
    assert outcomes[1].loss.item() == pytest.approx(outcomes[0].loss.item(), rel=0.1)
    assert outcomes[1].loss.item() != outcomes[0].loss.item()


@pytest.mark.parametrize(("name", "value"), [("drop_path", 0.2), ("auxiliary_weight", 0.4)])
def test_networks_of_nasbench201_are_refused_what_their_benchmark_did_without(
    tiny: Config, data: DataSet, name: str, value: float
) -> None:
    genotype = Nasbench201Genotype(("nor_conv_3x3",) * 6)
    line = rf"^retrain.{name} = {value} is for networks of the darts space; .*; set it to 0$"
    with pytest.raises(ValueError, match=line):
        RetrainTrainer(genotype, recipe(tiny, **{name: value}), data, device=CPU)
    # Before a search, by what it searches; of a given genotype, by that.
    searching = dataclasses.replace(
        recipe(tiny, **{name: value}),
        space=dataclasses.replace(tiny.space, kind="nasbench201", nodes=3, experts=("none", "nor_conv_3x3")),
    )
    with pytest.raises(ValueError, match=line):
        validate_retrain(searching, data)
    validate_retrain(searching, data, genotype=GENOTYPE)
