"""All that touches a stranger's bytes; it runs in a child process that may die without harm (`child`)."""
