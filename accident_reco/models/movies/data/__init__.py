"""TODO accident_reco/models/movies/data"""
