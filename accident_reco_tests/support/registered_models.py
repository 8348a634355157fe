"""Run as a program in a process that cannot import the platform: answers of champions loaded from MLflow's registry.

`python registered_models.py TRACKING_URI NAME…` prints name → [columns of the input example, columns of the answer].
"""

import importlib.util
import json
import sys


def main(uri: str, *names: str) -> None:
    """Load each champion as any user of MLflow would."""
    # An editable install finds the checkout by a finder of its own, or by a line in a .pth file.
    sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
    sys.path = [path for path in sys.path if "site-packages" in path or path.startswith(sys.base_prefix)]
    found = importlib.util.find_spec("accident_reco")
    # An editable install leaves a folder of that name with data files, which is no package.
    assert found is None or found.origin is None, "the platform is still importable"
    import mlflow

    mlflow.set_tracking_uri(uri)
    answers = {}
    for name in names:
        model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
        example = model.input_example
        answers[name] = [example.to_dict("list"), model.predict(example).to_dict("list")]
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
