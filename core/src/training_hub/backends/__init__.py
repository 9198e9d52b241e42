"""What a backend is, how parameters become a framework's arguments, and what a run is given."""
