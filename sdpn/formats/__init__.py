"""Who spoke when, in the form that the next tool reads."""
