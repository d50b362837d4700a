"""What can be wrong with an instance, named, each with what to do; nothing here changes anything.

Reading order: finding (what a check says), scene (what it looks at), checks (the table of all), run (looks, within
limits of time). Each of the other files is an area: a check is a small function that yields what it finds, or nothing.
"""
