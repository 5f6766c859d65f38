"""The data of whole training runs, and a run without interruption to compare with."""

import pytest
from training_runs import make_data, make_reference


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def reference(data, tmp_path_factory):
    return make_reference(data, tmp_path_factory.mktemp("reference"))
