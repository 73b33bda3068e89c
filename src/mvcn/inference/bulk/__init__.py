"""Jobs over any number of posts in Parquet files or WebDataset shards."""
