"""One reader per data set; each is a function from a folder to an iterable of `Sample`."""
