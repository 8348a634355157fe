"""Programs that run in the environments of peers (not this one); each has the least that its project's guide needs."""
