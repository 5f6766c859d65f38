"""Dialogues: reading a mixture, and rendering conversations as text and tokens."""
