"""MT-Bench: questions, answers, judges and scores, in FastChat's record formats."""
