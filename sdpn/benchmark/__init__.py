"""One measurement of a model: verification and diarization of unseen speakers, in every condition."""
