"""`make bench`: how fast letters leave and come in, beside what the machine could do at best."""
