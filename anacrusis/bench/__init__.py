"""What `anacrusis bench` measures: each module one bench, or one part of it."""
