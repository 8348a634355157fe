"""TODO accident_reco/models/accidents/features"""
