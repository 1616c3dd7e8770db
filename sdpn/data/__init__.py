"""The training data set: utterances, crops, batches."""
