"""QuerySets that hold every write rule of the graph: one write path for the facade, the REST API and the admin."""
