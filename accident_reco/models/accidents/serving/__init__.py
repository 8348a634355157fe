"""TODO accident_reco/models/accidents/serving"""
