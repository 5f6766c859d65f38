"""The scale model's world: dialogues of eight categories whose answers a program can check."""
