"""Where pictures come from: each source is a context manager that is iterated for `Frame`s."""
