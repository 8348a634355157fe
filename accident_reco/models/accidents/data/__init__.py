"""TODO accident_reco/models/accidents/data"""
