"""TODO accident_reco/models/accidents/scoring"""
