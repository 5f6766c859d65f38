"""A dialogue as token ids with its responses, as training and the logit dump read it."""

from dataclasses import dataclass

import numpy as np

from fusionchat.dialogues.dialogue import Dialogue


@dataclass(frozen=True)
class Encoded:
    """Token ids of a dialogue.

    `input_ids`: int32 [L], with the beginning-of-text token where template or tokenizer put one.
    `spans`: int32 [turns, 2], (start, length) of each turn's response tokens, the end-of-turn
    token included. The distribution that predicts token t is the model's output at t - 1.
    """

    input_ids: np.ndarray
    spans: np.ndarray

    def labels(self) -> np.ndarray:
        """Training labels, int64 [L]: the token itself in a response, -100 elsewhere."""
        labels = np.full(len(self.input_ids), -100, dtype=np.int64)
        for start, length in self.spans:
            labels[start : start + length] = self.input_ids[start : start + length]
        return labels


def response_bytes(dialogue: Dialogue) -> int:
    """Bytes of UTF-8 in a dialogue's responses, each end of turn counted as one.

    Depends on the text alone, so nats per byte can be compared between tokenizers. An empty answer
    has no response.
    """
    answers = [assistant for _, assistant in dialogue.turns if assistant]
    return sum(len(answer.encode("utf-8")) + 1 for answer in answers)


def truncate(encoded: Encoded, max_length: int) -> Encoded:
    """Cut to `max_length` tokens, as the released training code does with what is too long."""
    kept = [
        (start, min(length, max_length - start))
        for start, length in encoded.spans.tolist()
        if start < max_length
    ]
    return Encoded(encoded.input_ids[:max_length], np.array(kept, dtype=np.int32).reshape(-1, 2))
