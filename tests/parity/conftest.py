"""FastChat itself, for the tests that compare with it."""

import sys
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def fastchat():
    """FastChat's judge functions; its import of anthropic's client, which we lack, is met."""
    with pytest.MonkeyPatch.context() as patch:
        if "anthropic" not in sys.modules:
            patch.setitem(sys.modules, "anthropic", ModuleType("anthropic"))
        from fastchat.llm_judge import common

        yield common
