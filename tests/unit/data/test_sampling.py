"""Order, split and held-out images, by address."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas import DataSet
from xnas.data.rng import mix_address
from xnas.data.sampling import epoch_order, hold_out, mix_addresses, split


def test_an_address_is_a_63_bit_number_and_depends_on_every_word_and_their_order():
    addresses = [mix_address(*words) for words in ((), (0,), (0, 0), (1,), (1, 0), (0, 1), (-1,), (2**63,))]
    assert len(set(addresses)) == len(addresses)
    assert all(0 <= address < 2**63 for address in addresses)
    assert mix_address(1, 0) == mix_address(1, 0)


def test_one_word_of_the_address_changes_half_of_the_bits():
    changed = [(mix_address(3, i) ^ mix_address(3, i + 1)).bit_count() for i in range(1000)]
    assert 30.5 < sum(changed) / len(changed) < 32.5


@pytest.mark.parametrize("word", [2**64, -(2**63) - 1])
def test_a_word_too_large_for_an_address_is_an_error(word):
    with pytest.raises(ValueError, match=rf"lie in \[-2\^63, 2\^64\); got {word}"):
        mix_address(0, word)


def test_the_bits_of_indices_are_all_different():
    bits = mix_addresses(mix_address(7), torch.arange(100_000))
    assert len(set(bits.tolist())) == 100_000


def test_the_order_of_an_epoch_is_a_permutation_given_by_its_address():
    order = epoch_order(100, seed=1, epoch=2)
    torch.randn(7)  # draws elsewhere change nothing
    assert order.sort().values.equal(torch.arange(100))
    assert order.equal(epoch_order(100, seed=1, epoch=2))
    assert not order.equal(epoch_order(100, seed=1, epoch=3))
    assert not order.equal(epoch_order(100, seed=2, epoch=2))


def test_the_order_of_an_epoch_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    epoch_order(10, seed=0, epoch=0)
    split(torch.tensor([0, 0, 1, 1]), fraction=0.5, seed=0)
    assert torch.rand(3).equal(expected)


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(2, 30), min_size=1, max_size=6),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**32),
)
def test_a_split_is_sorted_disjoint_complete_and_stratified(counts, fraction, seed):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    first, second = split(labels, fraction=fraction, seed=seed)
    assert torch.cat([first, second]).sort().values.equal(torch.arange(len(labels)))
    assert first.equal(first.sort().values)
    assert second.equal(second.sort().values)
    for label, count in enumerate(counts):
        taken = int((labels[first] == label).sum())
        assert 1 <= taken <= count - 1
    if fraction * min(counts) >= 2 and (1 - fraction) * min(counts) >= 2:  # no class is held back by its size
        assert abs(len(first) - fraction * len(labels)) <= 0.5 + 1e-6


def test_a_split_is_given_by_its_seed():
    labels = torch.arange(200) % 4
    first, _ = split(labels, fraction=0.5, seed=3)
    assert first.equal(split(labels, fraction=0.5, seed=3)[0])
    assert not first.equal(split(labels, fraction=0.5, seed=4)[0])
    assert torch.bincount(labels[first]).tolist() == [25, 25, 25, 25]


def test_rounding_is_passed_on_from_class_to_class():
    first, second = split(torch.arange(30) // 3, fraction=0.5, seed=0)
    assert (len(first), len(second)) == (15, 15)


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8])
def test_small_classes_take_nothing_from_the_classes_after_them(fraction):
    counts = [2] * 40 + [100, 37]
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    first, _ = split(labels, fraction=fraction, seed=0)
    taken = torch.bincount(labels[first]).tolist()
    assert taken[:40] == [1] * 40
    assert all(
        abs(number - fraction * count) <= 1 for number, count in zip(taken[40:], counts[40:], strict=True)
    )


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_0_and_1_is_an_error(fraction):
    with pytest.raises(ValueError, match=rf"must lie in \(0, 1\); got {fraction}"):
        split(torch.tensor([0, 0, 1, 1]), fraction=fraction, seed=0)


def test_a_class_of_one_image_cannot_be_split():
    with pytest.raises(ValueError, match=r"class 1 has only 1 image.*missing from a part.*add images"):
        split(torch.tensor([0, 0, 1]), fraction=0.5, seed=0)
    with pytest.raises(ValueError, match=r"class 'dog' has only 1 image"):
        split(torch.tensor([0, 0, 1]), fraction=0.5, seed=0, classes=("cat", "dog"))


def test_an_empty_set_cannot_be_split():
    with pytest.raises(ValueError, match=r"N > 0; got shape \(0,\)"):
        split(torch.tensor([], dtype=torch.int64), fraction=0.5, seed=0)


def test_held_out_images_are_training_images_and_the_rest_is_trained_on(data: DataSet) -> None:
    part = hold_out(data, share=0.2, seed=3)
    aside, rest = part.test.ids_N, part.train.ids_N
    assert aside is not None
    assert rest is not None
    assert torch.equal(torch.cat([aside, rest]).sort().values, torch.arange(len(data.train)))
    assert torch.bincount(part.test.labels_N).tolist() == [4, 4, 4]
    assert torch.equal(part.test.pixels(torch.arange(12)), data.train.pixels(aside))
    again = hold_out(data, share=0.2, seed=3)
    other = hold_out(data, share=0.2, seed=4)
    assert again.fingerprint() == part.fingerprint() != other.fingerprint()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_nothing_or_of_all_is_refused(data: DataSet, share: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\)"):
        hold_out(data, share=share, seed=0)
