"""TODO accident_reco/models"""
