"""TODO accident_reco/models/movies/training"""
