"""What a new way to transfer has to be better than: each baseline as strong as its idea allows, chosen on cold_val."""

CONTENT_ONLY = ("content_ridge", "content_perceptron", "content_contrastive")
"""Methods that know nothing but content."""

BASELINES = ("popularity", *CONTENT_ONLY, "artist_mean", "artist_mean_shrunken", "artist_mean_content")
"""Methods that the others are compared with."""
