"""The comparisons of `accident-reco bench`, in the order in which they run; each is a module that is imported then."""

from __future__ import annotations

from typing import Final

from accident_reco_tests.bench.comparison import Comparison

COMPARISONS: Final = {
    one.name: one
    for one in (
        Comparison("noop", "One record over HTTP, against an endpoint that does nothing", "noop", "FastAPI"),
        Comparison(
            "servers",
            "One record over HTTP, against model servers with the same model file",
            "model_servers",
            "MLServer, LitServe, BentoML, mlflow",
        ),
        Comparison("predict", "Explanations, 1,000 records, start and memory of predict", "predict_service"),
        Comparison("workers", "Two worker processes of predict, against one", "workers", "one worker"),
        Comparison("log", "What the prediction log costs, in SQLite and PostgreSQL", "prediction_log", "no log"),
        Comparison("shadow", "What a shadow costs a saturated predict service", "shadow", "no shadow"),
        Comparison(
            "allocator", "What settings of glibc's allocator do to the predict service", "allocator", "its defaults"
        ),
        Comparison("recommend", "Top 10 of 60,000 movies, in process and over HTTP", "recommend", "Surprise, implicit"),
        Comparison("drift", "A drift verdict on 200,000 rows × 28 columns", "drift", "Evidently, NannyML"),
        Comparison("features", "A published year from CSV to features", "accident_features", "pandas"),
        Comparison("load", "Ratings from CSV into the warehouse", "bulk_load", "COPY, sqlite3"),
        Comparison("training", "A movie training through Dagster, against its bare fits", "training", "bare fits"),
    )
}
