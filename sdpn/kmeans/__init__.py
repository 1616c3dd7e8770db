"""Streaming k-means for data that do not fit in memory. Needs no torch.

`fit_stream` trains, `KMeansModel` is the trained model, `assign_chunks` labels any number of rows. Not to be
confused with `sdpn.clustering.kmeans`, which finds the speakers of one recording in memory.
"""
