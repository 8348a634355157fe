"""TODO accident_reco/models/movies/serving"""
