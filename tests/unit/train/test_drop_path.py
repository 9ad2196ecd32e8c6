"""What drop-path drops: by address, with the probability that is asked for, independently."""

import pytest
import torch

from xnas.data.rng import DROP_PATH, mix_address
from xnas.data.sampling import mix_addresses
from xnas.train.drop_path import draw_paths


def draw(ids: torch.Tensor, *, seed: int = 0, epoch: int = 3, probability: float = 0.25) -> torch.Tensor:
    """Of two cells of two and of three edges, (5, B)."""
    return torch.cat(draw_paths(ids, edges=[2, 3], seed=seed, epoch=epoch, probability=probability))


def test_each_cell_has_factors_for_each_of_its_edges_and_images() -> None:
    first, second = draw_paths(torch.arange(7), edges=[2, 3], seed=0, epoch=1, probability=0.5)
    assert first.shape == (2, 7)
    assert second.shape == (3, 7)
    assert first.dtype == torch.float32


def test_a_path_is_kept_by_its_address_alone() -> None:
    whole = draw(torch.arange(100))
    turned = draw(torch.arange(100).flip(0)).flip(1)
    assert torch.equal(whole, turned)
    assert torch.equal(whole[:, 40:47], draw(torch.arange(40, 47)))
    # By hand: cell 1, edge 2, image 40.
    bits = int(mix_addresses(mix_address(DROP_PATH, 0, 3, 1, 2), torch.tensor([40]))[0])
    assert whole[4, 40] == (1 / 0.75 if bits / 2**64 >= 0.25 else 0)


def test_other_seeds_and_epochs_drop_other_paths() -> None:
    ids = torch.arange(500)
    assert not torch.equal(draw(ids), draw(ids, seed=1))
    assert not torch.equal(draw(ids), draw(ids, epoch=4))


@pytest.mark.parametrize("probability", [0.02, 0.25, 0.9])
def test_so_many_are_dropped_and_the_mean_stays(probability: float) -> None:
    n = 40_000
    factors = draw(torch.arange(n), probability=probability)
    dropped = factors == 0
    spread = (probability * (1 - probability) / n) ** 0.5
    assert (dropped.double().mean(dim=1) - probability).abs().max() < 4 * spread
    assert factors[~dropped].unique().tolist() == pytest.approx([1 / (1 - probability)])
    # Edges drop independently of one another: no two of them together more often than chance has it.
    both = (dropped[:, None] & dropped[None]).double().mean(dim=2)
    apart = both[~torch.eye(5, dtype=torch.bool)]
    assert (apart - probability**2).abs().max() < 4 * probability / n**0.5


def test_what_is_dropped_at_a_low_probability_is_dropped_at_a_higher_one() -> None:
    ids = torch.arange(2000)
    low, high = draw(ids, probability=0.1) == 0, draw(ids, probability=0.3) == 0
    assert (low & ~high).sum() == 0
    assert low.sum() < high.sum()


def test_with_probability_zero_nothing_is_dropped() -> None:
    assert torch.equal(draw(torch.arange(50), probability=0.0), torch.ones(5, 50))
