"""Side by side with peers in one run, alternated; what counts are the ratios."""
