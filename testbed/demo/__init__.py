"""`make demo`: a region dies, Regent moves the traffic, the region comes back, Regent returns the traffic.
`make demo-database`: the same with PostgreSQL, which is promoted in the other region before the traffic follows.

`run` and `database` play them, `observer` notes when the API server says what, `story` turns that into the timeline
that is printed, `narrator` says what is waited for.
"""
