"""One file an area: facts in, findings out. Open nothing, ask nobody, read no clock."""
