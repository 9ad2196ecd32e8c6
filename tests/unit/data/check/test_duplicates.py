"""The same image twice: found exactly, as a comparison of all pairs would find it."""

from collections import defaultdict

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xnas.data.check.duplicates import (
    first_copies,
    hash_images,
    image_hash,
    repeated,
    seen_in_training,
    two_classes,
)

pictures = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=30)


@settings(max_examples=100, deadline=None)
@given(images=pictures, share=st.floats(0, 1))
def test_copies_agree_with_a_plain_comparison_of_all_pairs(images, share):
    values, labels = zip(*images, strict=True)
    train = int(share * len(values))
    hashes = np.array([image_hash(np.full((2, 2, 3), value, dtype=np.uint8)) for value in values], np.uint64)

    def first(start: int, i: int) -> int:
        return next(j for j in range(start, len(values)) if values[j] == values[i])

    everyone = range(len(values))
    assert first_copies(hashes).tolist() == [first(0, i) for i in everyone]
    seen = [(i, first(0, i)) for i in everyone if i >= train and first(0, i) < train]
    assert seen_in_training(hashes, train=train) == seen
    starts = [0 if i < train else train for i in everyone]
    again = [(i, first(start, i)) for i, start in zip(everyone, starts, strict=True) if first(start, i) != i]
    assert repeated(hashes, train=train) == again
    classes = defaultdict(set)
    for value, label in images:
        classes[value].add(label)
    pairs = two_classes(hashes, labels)
    assert {values[i] for i, _ in pairs} == {value for value, of in classes.items() if len(of) > 1}
    assert len(pairs) == len({values[i] for i, _ in pairs})
    assert all(values[i] == values[j] and labels[i] != labels[j] for i, j in pairs)


def test_images_of_the_same_bytes_and_another_shape_differ():
    values = np.arange(24, dtype=np.uint8)
    shapes = [(2, 4, 3), (4, 2, 3), (8, 1, 3), (8, 3)]
    assert len({image_hash(values.reshape(shape)) for shape in shapes}) == len(shapes)


def test_the_hash_of_an_image_does_not_depend_on_the_layout_in_memory():
    images = torch.from_numpy(np.arange(630, dtype=np.uint8).reshape(5, 3, 6, 7))
    assert np.array_equal(
        hash_images(images), hash_images(images.contiguous(memory_format=torch.channels_last))
    )
