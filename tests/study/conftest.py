"""Fixtures of the tests of studies."""

import pytest

from sparring.study import statistics


@pytest.fixture(scope="module")
def few_draws():
    """Intervals need not be exact here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 200)
        yield
