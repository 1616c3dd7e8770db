"""What a network hears, where, and in which layer, and how far to trust the pictures of it."""
