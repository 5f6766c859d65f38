"""Benchmarks of EleutherAI's lm-evaluation-harness, one score a document."""
