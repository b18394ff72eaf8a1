"""`make demo`: a region dies, Regent moves the traffic, the region comes back, Regent returns the traffic.

`run` plays it, `observer` notes when the API server says what, `story` turns that into the timeline that is printed.
"""
