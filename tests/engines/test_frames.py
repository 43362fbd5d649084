"""Frames of Dask, Spark and Ray are hashed by their engine; an engine that is missing fails."""

import os
import sys
import warnings

import pandas as pd
import pytest

import modelversion as mv
from modelversion.fingerprints import describe

# Engines warn of parts of their own.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}")
    for kind in ("DeprecationWarning", "FutureWarning", "ResourceWarning", "UserWarning")
]
ROWS = pd.DataFrame({"x": range(10), "s": [f"t{i % 3}" for i in range(10)], "y": [1.5, None] * 5})
CHANGED = ROWS.assign(x=[*range(9), 10])


@pytest.fixture(scope="module")
def spark():
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = (
            SparkSession.builder.master("local[2]")
            .config("spark.ui.enabled", "false")
            .getOrCreate()
        )
    yield made
    made.stop()


@pytest.fixture(scope="module")
def ray():
    import ray

    ray.init(num_cpus=2, include_dashboard=False)
    yield ray
    ray.shutdown()


def of_dask(frame, pieces=2):
    import dask.dataframe

    return dask.dataframe.from_pandas(frame, npartitions=pieces)


def of_spark(spark, frame, pieces=2):
    plain = frame.astype(object).where(frame.notna(), None)
    rows = [tuple(row) for row in plain.itertuples(index=False)]
    return spark.createDataFrame(rows, "x long, s string, y double").coalesce(pieces)


def of_ray(ray, frame, pieces=2):
    import ray.data

    return ray.data.from_pandas([part for _, part in frame.groupby(frame.index // (10 // pieces))])


def check(kind, same, again, changed):
    found = mv.fingerprint(same)
    assert (found.kind, found.shape) == (kind, (10, 3))
    assert found.digest == mv.fingerprint(again).digest
    assert found.digest != mv.fingerprint(changed).digest
    assert found.columns["s"].type == "string"
    profile = found.profile
    assert profile["x"].to_dict() == {"rows": 10, "nulls": 0, "min": 0, "max": 9, "mean": 4.5}
    assert profile["y"].to_dict() == {"rows": 10, "nulls": 5, "min": 1.5, "max": 1.5, "mean": 1.5}


def test_a_dask_frame_is_hashed_by_partition():
    """Each partition where it lies; a changed cell and other partitions give another digest."""
    check("dask", of_dask(ROWS), of_dask(ROWS), of_dask(CHANGED))

    assert mv.fingerprint(of_dask(ROWS)).digest != mv.fingerprint(of_dask(ROWS, 3)).digest


def test_a_dask_frame_is_never_collected(monkeypatch):
    """What comes back from the engine is a few hundred bytes a column, never rows."""
    import dask

    taken = []
    compute = dask.compute

    def watched(*arguments, **options):
        taken.append(compute(*arguments, **options))
        return taken[-1]

    monkeypatch.setattr(dask, "compute", watched)
    mv.fingerprint(of_dask(ROWS))

    (made,) = taken
    assert all(isinstance(piece, dict) and set(piece) >= {"digest", "columns"} for piece in made)


def test_a_spark_frame_is_hashed_by_partition(spark):
    """Each partition by its executor."""
    check("spark", of_spark(spark, ROWS), of_spark(spark, ROWS), of_spark(spark, CHANGED))


def test_a_ray_dataset_is_hashed_by_block(ray):
    """Each block by a worker, in the order of the dataset."""
    check("ray", of_ray(ray, ROWS), of_ray(ray, ROWS), of_ray(ray, CHANGED))


def test_an_argument_starts_no_engine():
    """A frame that only happens to be an argument is not computed; one that is logged is."""
    asked = describe("train", of_dask(ROWS))
    merely = describe("train", of_dask(ROWS), asked=False)

    assert asked.digest == mv.fingerprint(of_dask(ROWS)).digest
    assert merely.digest is None
    assert "its engine was not asked" in merely.reason
