"""The movie model: from MovieLens rating files to ranked recommendations.

Ratings are numpy columns (`data.ratings.Ratings`), never one Python object per rating. Training libraries are imported
inside the functions that fit (`candidates`); serving needs numpy only. `model` is what the platform knows.
"""
