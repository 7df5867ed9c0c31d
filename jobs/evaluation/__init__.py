"""Measuring the methods of the transfer on a benchmark folder: `run.evaluate`, and what it is made of."""
