"""FastChat's own judging with a judge that is a function."""

from contextlib import contextmanager

import pytest


@contextmanager
def judged_by(fastchat, reply):
    """Let `reply`, a function of messages, judge for FastChat; yields the messages it was sent."""
    sent = []

    def complete(model, conv, temperature, max_tokens):
        assert (temperature, max_tokens) == (0, 2048)
        sent.append(conv.to_openai_api_messages())
        return reply(sent[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastchat, "chat_completion_openai", complete)
        yield sent
