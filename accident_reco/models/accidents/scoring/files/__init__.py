"""Scoring of whole files: CSV, `.csv.gz`, Parquet, the four published tables, in bounded memory. No HTTP, no storage.

`score.score_paths` scores files of this machine; `serving.file_route` scores uploads with the same parts.
"""
