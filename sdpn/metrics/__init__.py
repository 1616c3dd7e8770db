"""How good diarizations and verification scores are, and how sure that is. Needs no torch."""
