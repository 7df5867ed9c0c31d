"""What a platform of 100 million tracks costs, step by step, worked out from measured unit costs into docs/scale.md."""
