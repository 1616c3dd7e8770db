"""Speaker verification: scores better than the cosine, trained without labels."""
