"""What every stage is doing and since when: a report, and the unix socket that hands it out. Changes nothing."""
