"""One trainer for every family: phases, schedules of images seen, exact state."""
