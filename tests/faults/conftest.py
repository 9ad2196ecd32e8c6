"""How many faults are tried: a share in every run of the tests, all of them with --faults=long."""

import pytest


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> str:
    """short or long."""
    return str(pytestconfig.getoption("--faults"))


@pytest.fixture(scope="session")
def long_faults(scale: str) -> bool:
    return scale == "long"
