"""Jobs over any number of posts in Parquet files or WebDataset shards."""

from mvcn.inference.bulk.job import ENGINES, EngineName, JobSummary, predict_in_bulk
from mvcn.inference.bulk.workers import Scoring

__all__ = ["ENGINES", "EngineName", "JobSummary", "Scoring", "predict_in_bulk"]
