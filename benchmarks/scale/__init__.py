"""How duikou grows: what a day's tasks ask of each part, and a simulation with the real store, database and broker."""
