"""The classifiers, all with one signature and one kind of output."""
