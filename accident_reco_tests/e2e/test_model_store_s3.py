"""Promotion on S3 and PostgreSQL with the process killed at every step: the old or the new champion loads."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from accident_reco.lifecycle.promotion import promote
from accident_reco.lifecycle.store import ModelStore
from accident_reco.storage.lifecycle import promotion_history
from accident_reco.storage.objects import ObjectStore, SwapConflict
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.promotion import BETTER, POLICY, build_bundle

pytestmark = pytest.mark.e2e

# One process plays every step: it forks before any client is made, and each child dies at its own call.
PROMOTE = textwrap.dedent("""
    import os, signal, sys
    from accident_reco.lifecycle.promotion import promote
    from accident_reco.lifecycle.store import ModelStore
    from accident_reco.storage import s3
    from accident_reco.storage.objects import open_store
    from accident_reco.storage.warehouse import Warehouse
    from accident_reco_tests.support.promotion import BETTER, POLICY, build_bundle

    def run(step):
        seen = 0
        call = s3.S3Store._call
        def dying(self, method, key, **arguments):
            nonlocal seen
            if method == "put_object":
                seen += 1
                if seen == step:  # odd: the request never left; even: it arrived and nobody heard
                    os.kill(os.getpid(), signal.SIGKILL)
                answer = call(self, method, key, **arguments)
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return answer
            return call(self, method, key, **arguments)
        s3.S3Store._call = dying
        models, warehouse = ModelStore(open_store(sys.argv[1])), Warehouse(sys.argv[2])
        promote(models, warehouse, build_bundle(b"two"), lambda *_: BETTER, POLICY, "r2")
        os._exit(0)

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(int(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
""")


def test_killed_at_any_upload_exactly_one_champion_loads(
    store: ObjectStore, warehouse: Warehouse, tmp_path: Path
) -> None:
    """SIGKILL before and after each upload of a promotion: what the pointer names is complete and verified."""
    models = ModelStore(store)
    old = promote(models, warehouse, build_bundle(b"one"), lambda *_: BETTER, POLICY, "r1").version
    new = build_bundle(b"two").version
    root = Path(__file__).resolve().parents[2]
    database = warehouse.url.render_as_string(hide_password=False)
    process = subprocess.Popen(
        [sys.executable, "-c", PROMOTE, store.url, database],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    served = []
    with process:
        for step in range(1, 12):
            process.stdin.write(f"{step}\n")
            process.stdin.flush()
            code = int(process.stdout.readline())
            pointer, manifest = models.champion("accidents")
            assert models.files(manifest)["model.onnx"] == (b"one" if pointer.version == old else b"two")
            served.append(pointer.version)
            if code == 0:
                break
            assert code == -signal.SIGKILL
        process.stdin.close()
    assert (served[0], served[-1]) == (old, new)
    assert served == sorted(served, key=[old, new].index), "once promoted, the new champion stays"
    assert len(served) > 5
    assert promotion_history(warehouse, "accidents")


def test_of_two_promotions_from_the_same_pointer_one_succeeds(store: ObjectStore) -> None:
    """The server rejects the slower of two by its conditional write."""
    models = ModelStore(store)
    one, two = models.write(build_bundle(b"one")), models.write(build_bundle(b"two"))
    first = models.point(one, expected=None, run_id="r1", reason="first")
    with pytest.raises(SwapConflict):
        models.point(two, expected=None, run_id="r2", reason="late")
    models.point(two, expected=first, run_id="r3", reason="after reading")
    with pytest.raises(SwapConflict):
        models.point(one, expected=first, run_id="r4", reason="stale")
    assert models.champion("accidents")[0].version == two.version
