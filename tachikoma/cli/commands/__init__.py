"""One short module per verb: argv in, request out, outcome to the renderer."""
