"""One run under Lightning: what the callback delegates to."""
