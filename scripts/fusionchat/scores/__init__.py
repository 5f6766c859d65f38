"""Scores: statistics, comparisons and what may be concluded from them."""
