"""Makes a physically smaller model for the kept joints: traces, follows, cuts, proves, stores."""
