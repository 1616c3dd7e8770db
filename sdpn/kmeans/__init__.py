"""K-means over chunks that never fit in memory together. Needs no torch.

`fit_stream` learns, `KMeansModel` keeps what was learned, `assign` labels any number of rows. The k-means
of `sdpn.clustering.kmeans` is another: it finds the speakers of one recording, which fits in memory.
"""
