"""Merging in weight space: VaRM, Linear, SCE, and mergekit's methods."""

from pathlib import Path

from fusionchat.hardware import place_numba_cache

place_numba_cache(Path(__file__).parent)  # before a module compiles
