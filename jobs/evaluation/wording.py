"""What methods and slices are, in a line each, for whoever reads the page and not the code."""

METHODS_IN_WORDS = {
    "popularity": "every user is shown the tracks whose artists' other tracks have most listeners",
    "content_ridge": "linear map from the content vector to the collaborative one",
    "content_perceptron": "network from the content vector to the collaborative one, squared error",
    "content_contrastive": "content and collaborative vectors aligned by a contrastive loss",
    "artist_mean": "mean of the artist's warm tracks",
    "artist_mean_shrunken": "the same, a short catalogue pulled towards its neighbourhood",
    "artist_mean_content": "artist mean, and what the content says apart from the artist's usual sound",
    "acarec": "attention over the artist's catalogue, as in the paper (Tamm et al., UMAP 2026, arXiv 2604.07090)",
    "anacrusis": "this project's transfer: networks for any catalogue size, none included, trained to rank, averaged",
}

SLICES_IN_WORDS = {
    "overall": "all cold tracks of the split are candidates, all entries count",
    "discovery": "only entries count whose primary artist stands on none of the user's warm tracks",
    "exploit": "only entries count whose primary artist stands on one of the user's warm tracks",
    "with_catalogue": "candidates are the tracks whose primary artist has a warm track",
    "without_catalogue": "candidates are the tracks whose primary artist has none",
    "content_known": "candidates are the tracks whose content is known",
    "content_unknown": "candidates are the tracks whose content is not known",
    "with_catalogue_content": "candidates are the tracks with a catalogue whose content is known",
    "with_catalogue_no_content": "candidates are the tracks with a catalogue whose content is not known",
    "without_catalogue_content": "candidates are the tracks without a catalogue whose content is known",
    "without_catalogue_no_content": "candidates are the tracks without a catalogue whose content is not known",
    "without_catalogue_among_all": "entries of tracks without a catalogue, all cold tracks are candidates",
    "without_catalogue_content_among_all": "the same, of those whose content is known",
    "without_catalogue_no_content_among_all": "the same, of those whose content is not known",
}
