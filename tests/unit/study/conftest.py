import pytest


@pytest.fixture(autouse=True)
def _by_hand(by_hand: None) -> None:
    """The run folders of these tests are made by hand."""
