"""Settings of a clusterer chosen on recordings with references."""
