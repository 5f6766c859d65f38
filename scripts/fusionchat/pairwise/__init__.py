"""Answers of two models compared side by side."""
