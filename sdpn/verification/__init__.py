"""Do two utterances have one speaker? Scores beyond the cosine, learned without labels."""
