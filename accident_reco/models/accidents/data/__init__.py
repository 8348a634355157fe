"""Reading, merging, checking and storing BAAC files, with the tables of the warehouse. Fetching is in `sources`."""
