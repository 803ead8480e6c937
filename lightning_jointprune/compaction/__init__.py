"""A physically smaller model for the kept joints: traced, followed, cut, proved equal, stored."""
