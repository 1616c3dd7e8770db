"""What surrounds a training: held-out trials, cross-validation, searches of settings, ensembles, pruning."""
