"""Benchmarks: ``fastlstm bench``, and what those of a checkout are made of. ``import fastlstm`` imports none of it."""
