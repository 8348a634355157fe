"""MovieLens domain: from rating files to ranked recommendations. Plain Python: no Dagster, no HTTP, no SQL.

Ratings travel as numpy columns (`columns.Ratings`), never as one Python object per rating. Surprise and implicit are
imported inside the functions that train; what serving imports (`recommender` and what it uses) needs numpy only.
"""
