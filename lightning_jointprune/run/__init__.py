"""Does what the callback delegates in one run under Lightning."""
