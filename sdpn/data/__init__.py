"""Features, crops, augmentation and the training data set."""
