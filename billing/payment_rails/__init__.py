"""Rails: the ways money moves. `rail` is what the platform asks of one; each rail has its own file."""
