"""TODO accident_reco/models/movies/scoring"""
