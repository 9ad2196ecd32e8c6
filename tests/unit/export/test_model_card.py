"""The model card has the figures of the run, says what they are worth, and no name in it acts."""

import dataclasses
import json

from huggingface_hub import ModelCard

from xnas.export.model_card import model_card

from ...helpers.exported_networks import CASES, about_of, trained_network

ABOUT = about_of(trained_network(CASES["RGB, ImageNet"]))


def test_a_card_tells_the_figures_and_what_they_are_worth() -> None:
    card = model_card(ABOUT, name="cells")
    assert "- Test accuracy: 87.50 % of 200 test images (95 % interval 82.2 to 91.4 %)" in card
    assert "2 epochs, seed 7, n = 1: other seeds give other figures" in card
    assert "4,321 parameters, 1.2 M multiply-adds" in card
    assert "the imagenet stem, squeeze-and-excitation" in card
    assert "RGB, 24 x 24 pixels" in card
    assert "Classes: a, b, c, d, e." in card


def test_a_hub_reads_the_cards_head() -> None:
    data = ModelCard(model_card(ABOUT, name="cells")).data
    assert data.library_name == "xnas"
    assert data.eval_results is not None
    (result,) = data.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("of things", "accuracy", 0.875)


def test_without_a_test_a_card_claims_nothing() -> None:
    card = model_card(dataclasses.replace(ABOUT, result=None), name="cells")
    assert "- Test accuracy: not measured." in card
    assert "model-index" not in card


def test_names_of_strangers_do_nothing_in_a_card() -> None:
    name = '"}]\n---\n<script>alert(1)</script> `x` [a](b)'
    about = dataclasses.replace(ABOUT, data=name, classes=("<b>", "*", "[x]", "\x1b[2J", "e"))
    card = model_card(about, name=name)
    text = card.partition("\n---\n")[2]
    assert "<script>" not in text
    assert "<b>" not in text
    assert "\x1b" not in card
    data = ModelCard(card).data
    assert data.library_name == "xnas"
    assert json.dumps(name)[1:-1] in card


def test_a_name_beyond_ascii_is_told_as_it_is() -> None:
    for name, told in (
        ("cells \U0001f600", "cells \U0001f600"),
        ("café\udce9", "café\\udce9"),
        ("a\ufeffb", "a\ufeffb"),
    ):
        card = model_card(dataclasses.replace(ABOUT, data=name), name=name)
        card.encode()  # it has no halves of characters
        data = ModelCard(card).data
        assert data.model_name == told
        assert data.eval_results is not None
        assert data.eval_results[0].dataset_name == told
