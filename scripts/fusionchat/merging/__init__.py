"""Merging in weight space: VaRM, Linear, SCE, and mergekit's methods."""
