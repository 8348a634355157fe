"""NannyML: univariate drift of a table, once per line of the input; prints the seconds of each.

Run: python nanny_drift.py TABLES, an `.npz` whose arrays are named `before/COLUMN` and `now/COLUMN`. The reference is
fitted once, before the first line, as a reference profile is.
"""

import sys
import time
import warnings

import nannyml
import numpy as np
import pandas as pd

warnings.simplefilter("ignore")


def main() -> None:
    """Read, fit, then answer each line."""
    with np.load(sys.argv[1]) as arrays:
        tables = {
            side: pd.DataFrame({name.partition("/")[2]: arrays[name] for name in arrays.files if name.startswith(side)})
            for side in ("before", "now")
        }
    numbers = [name for name in tables["before"] if name.startswith("n")]
    codes = [name for name in tables["before"] if name.startswith("c")]
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=numbers + codes,
        treat_as_categorical=codes,
        continuous_methods=["kolmogorov_smirnov"],
        categorical_methods=["chi2"],
        chunk_number=1,
    )
    started = time.perf_counter()
    calculator.fit(tables["before"])
    print("ready", time.perf_counter() - started, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        calculator.calculate(tables["now"]).to_df()
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
