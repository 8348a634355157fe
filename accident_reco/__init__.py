"""Road-accident severity and movie recommendations: one ML platform, one closed loop."""
