"""Knowledge fusion of chat LLMs: pairwise fusion, then merging (arXiv 2402.16107)."""

__version__ = "0.1.0"
