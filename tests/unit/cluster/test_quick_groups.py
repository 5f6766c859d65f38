"""A group may not need itself by way of jobs outside."""

from types import SimpleNamespace

import pytest

from fusionchat.cluster.quick_groups import returns

# d needs c, which needs b and x; b needs a
DAG = SimpleNamespace(_dependencies={"a": [], "x": [], "b": ["a"], "c": ["b", "x"], "d": ["c"]})


@pytest.mark.parametrize(
    ("jobs", "returning"),
    [("cd", False), ("abcd", False), ("ax", False), ("ac", True), ("ad", True), ("bd", True)],
)
def test_a_path_that_leaves_a_group_and_enters_it_again_is_found(jobs, returning):
    assert returns(DAG, SimpleNamespace(jobs=frozenset(jobs))) is returning
